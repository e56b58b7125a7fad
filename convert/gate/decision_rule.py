"""The decision rule of each file, fitted on validation: a threshold belongs to the scores of one file.

A file with a quantized output can give only a few different scores. Its threshold is stored half way between two neighbours, so
that no device's last bit moves an image across it; if too few scores are near it, one step of rounding would move many images,
and the file is refused.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.bundle.manifest import REFER, Decision, Share, Threshold, Value
from limiar.edge_app.errors import ConvertError
from limiar.train.record.operating_points import Scores, error_cut, expit, labels_of, logit, next_lower, sensitive_score

FALLBACK = Decision().refer_below  # if a target error cannot be reached
NEAR = 0.05  # how far from a threshold still counts as near it, in probability
AT_LEAST = 8  # scores that a file must be able to give near its threshold
_OUTPUT_STEPS = 255  # two int8 logits are at most this many steps apart; for int16 ones it is only a lower bound


class DecisionRule(Value, frozen=True, forbid_unknown_fields=True):
    """[decision] of gate.toml: exactly one of these."""

    error_decided: Share | None = None  # largest share of wrong answers among the decided; the least confident are referred
    confidence: Share | None = None  # refer below it; the course's "over 95 % or not detected"
    sensitivity: Share | None = None  # smallest share of the positive images that is called positive; none is referred
    refer_rate: Share | None = None  # largest share of the images that is referred, the least confident ones

    def __post_init__(self) -> None:
        if sum(value is not None for value in msgspec.structs.astuple(self)) != 1:
            raise ValueError("[decision] takes one of error_decided, confidence, sensitivity, refer_rate")


def fit(rule: DecisionRule, scores: Scores, labels: tuple[str, ...]) -> Decision:
    """The file's decision. Raises ConvertError: the target cannot be reached, or too few scores are near the threshold."""
    if rule.sensitivity is not None:
        return Decision(refer_below=0.0, threshold=_sensitivity(rule.sensitivity, scores, labels))
    if rule.error_decided is not None:
        found = error_cut(scores, rule.error_decided)
        cut = found.refer_below if found else _confidence(FALLBACK, scores)
    elif rule.refer_rate is not None:
        cut = _refer_rate(rule.refer_rate, scores)
    else:
        cut = _confidence(rule.confidence or 0.0, scores)
    _check_fine(cut, scores.step)
    return Decision(refer_below=cut)


def fitted(rule: DecisionRule, decision: Decision, scores: Scores, labels: tuple[str, ...]) -> str:
    """What a decision does on the images that it was fitted on, one line."""
    answers = labels_of(decision, scores.probabilities, labels)
    decided = ~referred(decision, scores.probabilities, answers)
    wrong, count, n = int((answers != scores.truth)[decided].sum()), int(decided.sum()), len(decided)
    said = f"fitted on validation: {n - count} of {n} images are referred, {wrong} of the {count} others are wrong"
    if rule.error_decided is not None and error_cut(scores, rule.error_decided) is None:
        return f"{said}; nowhere are only {100 * rule.error_decided:g} % of them wrong, so it is the usual {FALLBACK:g}"
    return said


def referred(decision: Decision, probabilities: NDArray[np.float64], answers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool [N]: left to a person, because the label's probability is too low."""
    return np.asarray(probabilities[np.arange(len(answers)), answers] < decision.refer_below)


def decided(answers: NDArray[np.int64], referred: NDArray[np.bool_], labels: Sequence[str]) -> list[str]:
    """Labels, int [N], and which images are left to a person -> decisions."""
    return [REFER if left else labels[answer] for answer, left in zip(answers, referred, strict=True)]


def in_words(decision: Decision) -> str:
    """The rule, "pos from 0.431, refer below 0.95"."""
    cut = f"{decision.threshold.label} from {decision.threshold.at_least:.6g}" if decision.threshold else "largest probability"
    return f"{cut}, refer below {decision.refer_below:.6g}" if decision.refer_below else cut


def _confidence(wanted: float, scores: Scores) -> float:
    if scores.step is None or scores.positive is None or not 0.0 < wanted < 1.0:
        return wanted  # a float has no steps; with many labels, nearly every score can occur
    below = math.ceil(logit(wanted) / scores.step) - 1
    return _between(expit(below * scores.step), expit((below + 1) * scores.step))


def _refer_rate(most: float, scores: Scores) -> float:
    confidences = np.sort(scores.probabilities.max(axis=1))
    first = confidences[min(int(most * len(confidences)), len(confidences) - 1)]  # the least confident one that is decided
    if first == confidences[0]:
        return 0.0
    step = None if scores.positive is None else scores.step  # with many labels, nearly every score can occur
    return _between(next_lower(float(first), confidences, step), float(first))


def _sensitivity(target: float, scores: Scores, labels: tuple[str, ...]) -> Threshold:
    if scores.positive is None:
        raise _unfit("a target sensitivity needs two labels", "give [decision] a confidence or a refer_rate")
    last = sensitive_score(scores, target)  # the least certain one that must be found
    if last is None:
        met = f"sensitivity {target:g} is reached by calling every validation image {labels[scores.positive]} alone"
        raise _unfit(met, "lower the target, or train a better model")
    at_least = _between(next_lower(last, scores.probabilities[:, scores.positive], scores.step), last)
    _check_fine(at_least, scores.step)
    return Threshold(labels[scores.positive], at_least)


def _check_fine(threshold: float, step: float | None) -> None:
    """With a logit step s, moving one logit by one step moves the score from p to expit(logit(p) + s)."""
    if step is None or not 0.0 < threshold < 1.0:
        return
    low, high = (logit(min(max(threshold + side * NEAR, 1e-12), 1 - 1e-12)) for side in (-1, 1))
    near = min(math.floor(high / step), _OUTPUT_STEPS) - max(math.ceil(low / step), -_OUTPUT_STEPS) + 1
    if near <= 0:
        met = f"no score that the file gives lies within {NEAR} of the threshold {threshold:.3f}: all images fall on one side"
        raise _unfit(met, "give [decision] in gate.toml a refer_rate, or a confidence that the model reaches")
    if near < AT_LEAST:
        met = f"{near} different scores lie within {NEAR} of the threshold {threshold:.3f}, {AT_LEAST} are needed"
        raise _unfit(met, "a logit's step is too coarse; use a file of higher precision")


def _unfit(met: str, cure: str) -> ConvertError:
    return ConvertError("E-CONVERT-THRESHOLD", f"{met}: {cure}")


def _between(low: float, high: float) -> float:
    """Half way, in few digits; more digits if two scores are closer than that."""
    middle = (low + high) / 2
    rounded = round(middle, 9)
    if low < rounded <= high:
        return rounded
    return middle if low < middle else high
