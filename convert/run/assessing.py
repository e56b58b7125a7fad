"""What limits of "not assessable" cost and catch, for the report."""

from limiar.edge_app.bundle.manifest import Assessable, Metric, Text, Value


class Assessing(Value, frozen=True, forbid_unknown_fields=True):
    """Shares of images that the limits refuse."""

    limits: Assessable
    refused: dict[str, Metric]  # of the images of "val", on which the limits were chosen, and "test"
    refused_of_label: dict[Text, Metric]  # of the test images with each label
    caught: dict[Text, Metric]  # of copies of the validation images: how they were damaged -> share
