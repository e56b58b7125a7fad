"""What `limiar evaluate` finds, as values; `--json` prints them."""

import msgspec

from limiar.edge_app.bundle.manifest import Decision, InputSpec, Metric, TileSpec
from limiar.edge_app.output.lines import Origin
from limiar.train.record.curves import Bin
from limiar.train.record.froc import AtThreshold, Froc


class LabelFigures(msgspec.Struct, frozen=True):
    """What became of the images of one true label."""

    images: int
    decided: dict[str, int]  # a label, "refer" or "refused" -> images
    recall: Metric | None  # share of them that got this label; None: there is no such image
    precision: Metric | None  # share of the images that got this label that have it; None: none got it


class GroupFigures(msgspec.Struct, frozen=True):
    """The images with one value of the column that was asked for."""

    value: str
    images: int
    refused: int
    figures: dict[str, Metric]


class PointFigures(msgspec.Struct, frozen=True):
    """One of the bundle's operating points, chosen on its validation images and measured here."""

    name: str  # "sensitivity-0.95"
    aim: str
    decision: Decision
    bundle: dict[str, Metric]  # as the bundle measured it on its own test images
    here: dict[str, Metric]


class RefusedImages(msgspec.Struct, frozen=True):
    """The images that were refused with one code. All count as wrong."""

    code: str
    images: int
    files: tuple[str, ...]  # all of them
    message: str  # of the first


class WrongImage(msgspec.Struct, frozen=True):
    """An image that got a wrong label."""

    file: str  # relative to the data folder
    frame: int | None  # from 1, of a file with several; None: it has one
    sha256: str
    truth: str
    label: str
    decision: str  # the label, or "refer"
    confidence: float  # probability of `label`
    of_truth: float  # probability of the true label
    outside: tuple[str, ...]  # statistics in which it is unlike the training images


class Place(msgspec.Struct, frozen=True):
    """A place in a picture: a mark that was missed, or a peak on no mark."""

    file: str  # relative to the data folder
    frame: int | None  # from 1, of a file with several; None: it has one
    x: float  # px of the picture, or mm if the marks are in mm
    y: float
    score: float  # of the peak; of a mark, the highest score of a tile within its radius that would be a peak, or 0


def picture_name(one: WrongImage | Place) -> str:
    """The file, and which of its pictures."""
    return one.file if one.frame is None else f"{one.file}, frame {one.frame}"


class MarkFigures(msgspec.Struct, frozen=True):
    """How well marked positions are found by tiles."""

    marks: int
    pictures: int
    marked_pictures: int
    sought: str  # the label
    reported: AtThreshold  # of the peaks that a device reports
    froc: Froc  # of the peaks at any threshold
    missed: tuple[Place, ...]  # marks without a reported peak, those of the lowest score first
    false: tuple[Place, ...]  # reported peaks on no mark, the highest score first


class Scored(msgspec.Struct, frozen=True):
    """The bundle."""

    name: str
    version: str
    intended_use: str
    verdict: str  # "PASS", and what was not proven
    labels: tuple[str, ...]
    positive: str | None
    input: InputSpec
    decision: Decision  # by which it decided


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle scored on labelled images. Intervals are two-sided, 95 %."""

    bundle: Scored
    origin: Origin  # model file and runtime
    data: str  # the folder, printable
    tiles: TileSpec | None  # into which pictures were cut; None: each was answered as one image
    split: str  # "test", "val", "train" or "all"
    images: int
    refused: tuple[RefusedImages, ...]
    groups: int | None  # of images that are not independent; None: intervals take each image for independent
    figures: dict[str, Metric]
    labels: dict[str, LabelFigures]
    reliability: tuple[Bin, ...]
    operating_points: tuple[PointFigures, ...]
    group_by: str | None
    compared: tuple[GroupFigures, ...]  # one for each value of that column
    outside: dict[str, int]  # statistic -> images outside the bundle's envelope in it; {}: none, or there is no envelope
    outside_images: int
    worst: tuple[WrongImage, ...]
    marks: MarkFigures | None = None
    notes: tuple[str, ...] = ()

    @property
    def refused_images(self) -> int:
        """How many images have no answer."""
        return sum(one.images for one in self.refused)
