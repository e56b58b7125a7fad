"""A file's answers beside Keras's, on the same images, each at the decision rule that ships with it."""

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from limiar.convert.gate.copies import copy_bound, distances, reach
from limiar.convert.gate.decision_rule import referred
from limiar.convert.gate.noninferiority import PairedLoss, bounds, paired_loss
from limiar.convert.run.dataset import Split
from limiar.edge_app.bundle.manifest import Count, Decision, Metric, Value
from limiar.edge_app.inference.softmax import softmax
from limiar.train.record.metrics import (
    DECIMALS,
    auc_difference,
    brier,
    class_metrics,
    decided_metrics,
    ece,
    ece_interval,
    nll,
    proportion,
    rounded,
)
from limiar.train.record.operating_points import labels_of

# Of a logit: with and without AVX-512, Keras and ONNX Runtime gave fp32 logits that differ by 1.4e-6; a report must repeat.
_NOISE = 1e-5
Flags = NDArray[np.bool_]  # [N], one for each image

_SIDE = 0.025  # of a two-sided 95 % interval


class GroupLoss(Value, frozen=True, forbid_unknown_fields=True):
    """The group (patient, scan) whose accuracy fell most."""

    group: str  # the first 8 digits of the sha256 of its name, which may be a patient's
    n: Count
    loss: float  # (lost - gained) / n


class Comparison(Value, frozen=True, forbid_unknown_fields=True):
    """The answers for one split. Metrics count the label of all images, referred ones too."""

    images: Count
    finite: bool  # if not, the rest is empty
    metrics: dict[str, Metric] = msgspec.field(default_factory=dict)
    losses: tuple[PairedLoss, ...] = ()  # what the gate decides by
    # From here on only reported, unless gate.toml sets a limit.
    differences: dict[str, Metric] = msgspec.field(
        default_factory=dict
    )  # accuracy and auc, file less Keras, 95 % intervals of the pairs
    calibration: dict[str, float] = msgspec.field(default_factory=dict)  # nll, brier, ece
    ece: Metric | None = None  # the last of these with its interval
    flips: Metric | None = None  # share of the images that are decided differently, 95 % by Clopper and Pearson
    p_accuracy: float | None = None  # McNemar's exact test, two-sided; exploratory
    largest_difference: float | None = None  # of a logit from Keras's, absolute
    worst_group: GroupLoss | None = None  # None: no group is known


class Terms(msgspec.Struct, frozen=True):
    """What is compared, and how strictly."""

    names: tuple[str, ...]  # the K labels
    positive: str | None
    margin: float  # of non-inferiority
    alpha: float
    copy_difference: float | None = None  # of a logit from Keras's; a file that differs less may be proven as a copy


class SplitAnswers(msgspec.Struct, frozen=True):
    """What one model says of a split."""

    logits: NDArray[np.float32]  # [N, K]
    probabilities: NDArray[np.float64]  # [N, K]
    labels: NDArray[np.int64]  # [N], by the decision rule
    referred: NDArray[np.bool_]  # [N]
    decision: Decision

    @property
    def decisions(self) -> NDArray[np.int64]:
        """int64 [N]: the label, or -1 if the image is left to a person."""
        return np.where(self.referred, -1, self.labels)


def answered(logits: NDArray[np.float32], decision: Decision, names: tuple[str, ...]) -> SplitAnswers:
    """One model's answers by a decision rule. logits: float32 [N, K], finite; names: the K labels."""
    probabilities = softmax(logits)
    labels = labels_of(decision, probabilities, names)
    return SplitAnswers(logits, probabilities, labels, referred(decision, probabilities, labels), decision)


def compare(file: SplitAnswers, keras: SplitAnswers, split: Split, terms: Terms) -> Comparison:
    """One split's figures, and how they agree with Keras's.

    `agreement` is the share of images that get the label that Keras gives.
    """
    truth = split.labels
    metrics = class_metrics(truth, file.probabilities, terms.names, terms.positive, file.labels)
    metrics |= decided_metrics(truth, file.probabilities, file.decision.refer_below, file.labels)
    metrics["agreement"] = proportion(int((file.labels == keras.labels).sum()), len(truth))
    lost = (keras.labels == truth) & (file.labels != truth)
    gained = (keras.labels != truth) & (file.labels == truth)
    difference = float(np.abs(file.logits.astype(np.float64) - keras.logits).max())
    flips = int((file.decisions != keras.decisions).sum())
    return Comparison(
        images=len(truth),
        finite=True,
        metrics={name: rounded(metric) for name, metric in metrics.items()},
        losses=tuple(
            _as_copy(loss, file, keras, difference, truth == index, terms)
            for index, loss in enumerate(_losses(lost, gained, truth, terms))
        ),
        differences={name: rounded(metric) for name, metric in _differences(file, keras, lost, gained, truth, terms)},
        calibration={
            name: round(figure(truth, file.probabilities), DECIMALS)
            for name, figure in (("nll", nll), ("brier", brier), ("ece", ece))
        },
        ece=rounded(ece_interval(truth, file.probabilities)),
        flips=rounded(clopper_pearson(flips, len(truth))),
        p_accuracy=round(mcnemar(int(lost.sum()), int(gained.sum())), DECIMALS),
        largest_difference=significant(difference),
        worst_group=_worst_group(lost, gained, split.groups),
    )


def not_finite(images: int) -> Comparison:
    """The comparison if the answers contain NaN or infinity."""
    return Comparison(images=images, finite=False)


def clopper_pearson(k: int, n: int) -> Metric:
    """k in n with the exact 95 % interval. C. J. Clopper, E. S. Pearson, Biometrika 26 (1934) 404-413."""
    interval = binomtest(k, n).proportion_ci(confidence_level=0.95, method="exact")
    return Metric(value=k / n, low=float(interval.low), high=float(interval.high), n=n)


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided p of "as many lost as gained". Q. McNemar, Psychometrika 12 (1947) 153-157; the exact binomial form."""
    return float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0


def significant(value: float, digits: int = 2) -> float:
    """Rounded to this many digits; anything below _NOISE, which is rounding error, becomes _NOISE."""
    return float(f"{max(value, _NOISE):.{digits - 1}e}") if value else 0.0


def loss_names(names: Sequence[str], positive: str | None) -> list[str]:
    """What the recall of each label is called, in the order of the labels."""
    if positive is None:
        return [f"recall_{name}" for name in names]
    return ["sensitivity" if name == positive else "specificity" for name in names]


def _as_copy(
    loss: PairedLoss, file: SplitAnswers, keras: SplitAnswers, difference: float, mine: Flags, terms: Terms
) -> PairedLoss:
    """A loss that the pairs leave undecided, decided if the file is a copy and no image got another label."""
    limit = terms.copy_difference
    same = bool((file.labels == keras.labels).all())
    if loss.verdict != "INCONCLUSIVE" or limit is None or difference > limit or not same:
        return loss
    own = distances(keras.logits[mine], keras.decision, terms.names)
    bound = round(copy_bound(own, reach(difference, keras.decision, file.decision), terms.alpha), DECIMALS)
    if bound >= terms.margin:
        return loss
    return msgspec.structs.replace(loss, low=-bound, high=bound, verdict="PASS", more_images=None, proof="copy")


def _losses(lost: Flags, gained: Flags, truth: NDArray[np.int64], terms: Terms) -> list[PairedLoss]:
    """What the pairs say of each label, in the labels' order."""
    found = []
    for index, name in enumerate(loss_names(terms.names, terms.positive)):
        mine = truth == index
        counts = int(lost[mine].sum()), int(gained[mine].sum()), int(mine.sum())
        found.append(paired_loss(name, *counts, terms.margin, terms.alpha))
    return found


def _differences(
    file: SplitAnswers, keras: SplitAnswers, lost: Flags, gained: Flags, truth: NDArray[np.int64], terms: Terms
) -> list[tuple[str, Metric]]:
    down, up, n = int(lost.sum()), int(gained.sum()), len(truth)
    low, high = bounds(up, down, n, _SIDE)
    found = [("accuracy", Metric(value=(up - down) / n, low=low, high=high, n=n))]
    if terms.positive is not None:
        column = terms.names.index(terms.positive)
        found.append(("auc", auc_difference(truth == column, file.probabilities[:, column], keras.probabilities[:, column])))
    return found


def _worst_group(lost: Flags, gained: Flags, groups: Sequence[str]) -> GroupLoss | None:
    """The group with the largest loss (or smallest gain), the larger one of equals; None: no group is known."""
    named = np.array(groups)
    found = []
    for group in sorted(set(groups) - {""}):
        mine = named == group
        loss = (int(lost[mine].sum()) - int(gained[mine].sum())) / int(mine.sum())
        found.append(GroupLoss(hashlib.sha256(group.encode("utf-8", "surrogateescape")).hexdigest()[:8], int(mine.sum()), loss))
    worst = max(found, key=lambda group: (group.loss, group.n), default=None)
    return worst and msgspec.structs.replace(worst, loss=round(worst.loss, DECIMALS))
