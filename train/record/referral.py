"""How many images are referred to a person: by the course's fixed rule, and by the rule that `limiar convert` fits."""

from limiar.edge_app.bundle.manifest import Decision
from limiar.train.record.metrics import decided_metrics
from limiar.train.record.operating_points import ERROR_DECIDED, Scores, error_cut

COURSE = 0.95  # refer below this confidence; convert --refer-below 0.95 keeps it


def fitted(val: Scores) -> float:
    """The confidence below which `limiar convert` refers by default, of the Keras model.

    Each file has its own, fitted to its own answers: a float file's is this one, a quantized file's is near it.
    """
    found = error_cut(val, ERROR_DECIDED)
    return found.refer_below if found else Decision().refer_below


def referral(below: float, test: Scores) -> str:
    """How many test images a rule refers, and how often the others are right."""
    decided = decided_metrics(test.truth, test.probabilities, below)
    said = f"refers {100 * decided['refer_rate'].value:.0f} % of the test images"
    if right := decided.get("accuracy_decided"):
        said += f"; {right.value:.3f} of the others are right ({right.low:.3f}-{right.high:.3f})"
    return said


def referrals(val: Scores, test: Scores) -> tuple[str, str]:
    """A line for each rule, convert's first."""
    below = fitted(val)
    reached = f"at most {100 * ERROR_DECIDED:g} % wrong among the decided val images"
    if error_cut(val, ERROR_DECIDED) is None:
        reached = f"its aim, {reached}, cannot be reached, so the usual cut"
    own = f"limiar convert's default rule ({reached}: refer below {below:.3g}) {referral(below, test)}"
    return own, f"the course's rule (refer below {COURSE:g}) {referral(COURSE, test)}"
