"""How good the answers are, with intervals. Images that were refused count as wrong wherever labels are counted."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.bundle.manifest import REFER, REFUSED, Metric
from limiar.train.record.metrics import (
    ECE_BINS,
    auc_interval,
    ece_interval,
    log_losses,
    mean,
    proportion,
    square_losses,
)
from limiar.train.record.resampling import Figure, auc_of, by_group, ece_of, mean_of, resampled, share_of

Images = NDArray[np.bool_]  # [N]


class Judged(msgspec.Struct, frozen=True):
    """N images with their true labels and answers."""

    names: tuple[str, ...]  # the K labels
    positive: str | None  # one of two; None for more
    truth: NDArray[np.int64]  # [N]
    labels: NDArray[np.int64]  # [N], what each image got; -1: refused
    probabilities: NDArray[np.float64]  # [N, K]; NaN if refused
    decisions: NDArray[np.str_]  # [N], a label, REFER or REFUSED
    groups: NDArray[np.int64] | None  # [N], of the same patient or scan; None: each image is independent

    def of(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "Judged":
        """Some of the images."""
        return msgspec.structs.replace(
            self,
            truth=self.truth[rows],
            labels=self.labels[rows],
            probabilities=self.probabilities[rows],
            decisions=self.decisions[rows],
            groups=None if self.groups is None else self.groups[rows],
        )


def label_figures(images: Judged, labels: NDArray[np.int64] | None = None) -> dict[str, Metric]:
    """Accuracy, then sensitivity and specificity, or with more than two labels the recall of each; of the labels that occur.

    labels: int [N], if not those that the images got.
    """
    right = (images.labels if labels is None else labels) == images.truth
    counted = {"accuracy": (right, np.full(len(right), True))}
    for k, name in _by_name(images):
        counted[name] = (right, images.truth == k)
    return _shares(counted, images)


def figures(images: Judged) -> dict[str, Metric]:
    """All figures: those of the labels, AUC, refer rate, accuracy of what was decided, ECE, NLL and Brier.

    The last three and AUC are of the images that have an answer; AUC is left out unless there are two labels and both occur.
    """
    refer = images.decisions == REFER
    decided = {
        "refer_rate": (refer, np.full(len(refer), True)),
        "accuracy_decided": (images.decisions == np.array(images.names)[images.truth], ~refer),
    }
    scored = _of_scores(images.of(images.labels >= 0)) if (images.labels >= 0).any() else {}
    found = label_figures(images) | {name: scored[name] for name in ("auc",) if name in scored}
    return found | _shares(decided, images) | scored


def recalls(images: Judged) -> dict[str, Metric]:
    """Label -> the share of its images that got it; labels without an image are left out."""
    found = label_figures(images)
    return {images.names[k]: found[name] for k, name in _by_name(images) if name in found}


def precisions(images: Judged) -> dict[str, Metric]:
    """Label -> the share of the images that got it that have it; labels that none got are left out."""
    return _shares({name: (images.truth == k, images.labels == k) for k, name in enumerate(images.names)}, images)


def confusion(images: Judged) -> dict[str, dict[str, int]]:
    """True label -> what was decided -> images: each label, REFER and REFUSED."""
    columns = (*images.names, REFER, REFUSED)
    return {
        name: {column: int(((images.truth == k) & (images.decisions == column)).sum()) for column in columns}
        for k, name in enumerate(images.names)
    }


def _by_name(images: Judged) -> list[tuple[int, str]]:
    """The names of the labels' recalls."""
    if images.positive is None:
        return [(k, f"recall_{name}") for k, name in enumerate(images.names)]
    positive = images.names.index(images.positive)
    return [(positive, "sensitivity"), (1 - positive, "specificity")]


def _shares(counted: dict[str, tuple[Images, Images]], images: Judged) -> dict[str, Metric]:
    """Name -> (hits, among which images) -> the shares; those among no image are left out."""
    some = {name: (hits, among) for name, (hits, among) in counted.items() if among.any()}
    found = {name: proportion(int((hits & among).sum()), int(among.sum())) for name, (hits, among) in some.items()}
    return _grouped(found, {name: share_of(*pair) for name, pair in some.items()}, images)


def _of_scores(images: Judged) -> dict[str, Metric]:
    """What depends on the probabilities, of images that all have an answer."""
    truth, answers = images.truth, images.probabilities
    log, square = log_losses(truth, answers), square_losses(truth, answers)
    found, again = {"nll": mean(log), "brier": mean(square)}, {"nll": mean_of(log), "brier": mean_of(square)}
    if images.positive is not None and len(np.unique(truth)) == 2:
        positive = images.names.index(images.positive)
        found["auc"] = auc_interval(truth == positive, answers[:, positive])
        again["auc"] = auc_of(truth == positive, answers[:, positive])
    found = _grouped(found, again, images)
    return {"auc": found.pop("auc")} | {"ece": _ece(images)} | found if "auc" in found else {"ece": _ece(images)} | found


def _ece(images: Judged) -> Metric:
    """With an interval that is no narrower than that of independent images; see `ece_interval` for why it is the basic one."""
    found = ece_interval(images.truth, images.probabilities)
    if images.groups is None:
        return found
    right = images.probabilities.argmax(axis=1) == images.truth
    figure = ece_of(right, images.probabilities.max(axis=1), ECE_BINS)
    below, above = np.quantile(resampled({"ece": figure}, images.groups)["ece"], (0.025, 0.975))
    low, high = 2 * found.value - float(above), 2 * found.value - float(below)
    return Metric(value=found.value, low=max(0.0, min(low, found.low)), high=min(1.0, max(high, found.high)), n=found.n)


def _grouped(found: dict[str, Metric], figures: dict[str, Figure], images: Judged) -> dict[str, Metric]:
    return found if images.groups is None else by_group(found, figures, images.groups)


def independent(groups: Sequence[str]) -> NDArray[np.int64] | None:
    """[N] names of groups, "" for none -> [N] numbers; None if no group has two images."""
    named = [name or f"\0{row}" for row, name in enumerate(groups)]
    numbers = np.unique(named, return_inverse=True)[1]
    return None if len(set(named)) == len(named) else numbers
