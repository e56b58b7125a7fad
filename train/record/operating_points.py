"""Other thresholds for a model file, each for a stated aim: chosen on validation alone, then measured on test.

A bundle carries them beside the decision that ships, so that a person can weigh them, and a device can later take another one.
"""

import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.bundle.manifest import Decision, Metric, OperatingPoint, Threshold
from limiar.train.record.metrics import class_metrics, decided_metrics, rounded

SENSITIVITIES = (0.95, 0.99)  # at least this share of the positive images is found
SPECIFICITIES = (0.95,)  # at least this share of the others is called negative
REFER_BELOW = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)  # for more than two labels
ERROR_DECIDED = 0.02  # share of the decided validation images that are wrong: convert's default. docs/gate.md, "The decision"
_DIGITS = range(3, 16)  # of a threshold: the fewest that stay clear of the scores on either side
_LEAST, _MOST = 1e-300, 1 - 2**-53  # a probability: two logits 37 apart give 1 in float64, which has no logit of its own


class Scores(msgspec.Struct, frozen=True):
    """What a model gave for one split."""

    probabilities: NDArray[np.float64]  # [N, K]
    truth: NDArray[np.int64]  # [N]
    positive: int | None  # index of the positive label; None with more than two
    step: float | None = None  # of a logit, if the model's output is quantized


def operating_points(val: Scores, test: Scores, names: Sequence[str]) -> tuple[OperatingPoint, ...]:
    """Chosen on `val`, measured on both. names: the K labels.

    With two labels: the largest probability, the aims above, and the largest sensitivity + specificity - 1 (W. J. Youden,
    Index for rating diagnostic tests, Cancer 3 (1950) 32-35; of equal ones the most specific). An aim that is met only by
    calling every image the same is left out. With more labels: the largest probability, referred below REFER_BELOW.
    """
    found = []
    for name, aim, decision in _bands() if val.positive is None else _cuts(val, names[val.positive]):
        measured = (_measured(decision, split, names) for split in (val, test))
        found.append(OperatingPoint(name, aim, decision, *measured))
    return tuple(found)


def labels_of(decision: Decision, probabilities: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.int64]:
    """float64 [N, K] -> int64 [N], the label that each image gets, as `Decision.label` gives it for one."""
    if decision.threshold is None:
        return np.asarray(probabilities.argmax(axis=1))
    chosen = list(names).index(decision.threshold.label)
    return np.where(probabilities[:, chosen] >= decision.threshold.at_least, chosen, 1 - chosen)


def sensitive_score(scores: Scores, target: float) -> float | None:
    """The highest score that finds the share `target` of the positive images; None if that calls every image positive."""
    cuts = _Cuts(scores)
    place = int(np.argmax(cuts.found >= _count(target, cuts.positives)))
    return None if place == len(cuts.score) - 1 else float(cuts.score[place])


class Cut(msgspec.Struct, frozen=True):
    """A confidence below which images are referred, and what became of the others."""

    refer_below: float  # 0..1; 0: none is referred
    decided: int
    wrong: int  # of these


def error_cut(scores: Scores, target: float) -> Cut | None:
    """The lowest confidence at and above which at most the share `target` (0..1) of the decided images is wrong.

    None if there is none: the most confident answers are wrong. It is the share that was found, not a bound on it: for
    other images it is a little higher (docs/gate.md has figures). In the terms of R. El-Yaniv and Y. Wiener, Journal of
    Machine Learning Research 11 (2010) 1605-1641: the largest coverage whose selective risk here is at most `target`.
    """
    confidence, wrong = scores.probabilities.max(axis=1), scores.probabilities.argmax(axis=1) != scores.truth
    order = np.argsort(-confidence, kind="stable")
    ordered, errors = confidence[order], np.cumsum(wrong[order])
    last_of_equals = np.append(np.diff(ordered) != 0, True)
    fits = np.flatnonzero(last_of_equals & (errors <= target * np.arange(1, len(ordered) + 1) + 1e-9))
    if not len(fits):
        return None
    last = int(fits[-1])
    if last == len(ordered) - 1:
        return Cut(0.0, len(ordered), int(errors[-1]))
    step = None if scores.positive is None else scores.step  # with many labels, nearly every value occurs
    score = float(ordered[last])
    return Cut(_between(next_lower(score, confidence, step), score), last + 1, int(errors[last]))


def next_lower(score: float, given: NDArray[np.float64], step: float | None) -> float:
    """The next lower score that a model can give: a logit's step away, or if that is None, the next that it gave."""
    return float(given[given < score].max()) if step is None else expit(logit(score) - step)


def logit(p: float) -> float:
    """log(p / (1 - p)), finite for 0 and 1 too."""
    p = min(max(p, _LEAST), _MOST)
    return math.log(p / (1.0 - p))


def expit(x: float) -> float:
    """The logistic function; does not overflow."""
    return 0.5 * (1.0 + math.tanh(0.5 * x))


class _Cuts:
    """What is called positive at each distinct score and above, the highest score first."""

    def __init__(self, scores: Scores) -> None:
        of_positive, is_positive = scores.probabilities[:, scores.positive], scores.truth == scores.positive
        order = np.argsort(-of_positive, kind="stable")
        ordered = of_positive[order]
        last_of_equals = np.append(np.diff(ordered) != 0, True)
        self.score = ordered[last_of_equals]
        self.found = np.cumsum(is_positive[order])[last_of_equals]  # positive images
        self.alarms = np.cumsum(~is_positive[order])[last_of_equals]  # others
        self.positives, self.others = int(self.found[-1]), int(self.alarms[-1])


def _cuts(val: Scores, positive: str) -> Iterator[tuple[str, str, Decision]]:
    cuts = _Cuts(val)

    def decision(score: float) -> Decision:
        return Decision(
            refer_below=0.0, threshold=Threshold(positive, _between(next_lower(score, cuts.score, val.step), score))
        )

    yield "argmax", "the most probable label", Decision(refer_below=0.0)
    for target in SENSITIVITIES:
        if (score := sensitive_score(val, target)) is not None:
            yield f"sensitivity-{target:g}", f"most specific with a sensitivity of at least {target:g}", decision(score)
    for target in SPECIFICITIES:
        kept = np.flatnonzero(cuts.others - cuts.alarms >= _count(target, cuts.others))
        if len(kept):  # never the last cut, which calls every image positive
            aim = f"most sensitive with a specificity of at least {target:g}"
            yield f"specificity-{target:g}", aim, decision(float(cuts.score[kept[-1]]))
    best = int(np.argmax(cuts.found * cuts.others - cuts.alarms * cuts.positives))  # whole numbers: ties are ties
    if best < len(cuts.score) - 1:
        yield "youden", "largest sum of sensitivity and specificity (Youden's J)", decision(float(cuts.score[best]))


def _bands() -> Iterator[tuple[str, str, Decision]]:
    for below in REFER_BELOW:
        aim = f"the most probable label, referred below {below:g}" if below else "the most probable label"
        yield f"refer-below-{below:g}" if below else "argmax", aim, Decision(refer_below=below)


def _measured(decision: Decision, split: Scores, names: Sequence[str]) -> dict[str, Metric]:
    if split.positive is None:
        metrics = decided_metrics(split.truth, split.probabilities, decision.refer_below)
    else:
        answered = labels_of(decision, split.probabilities, names)
        metrics = class_metrics(split.truth, split.probabilities, names, names[split.positive], answered)
        metrics = {name: metrics[name] for name in ("sensitivity", "specificity")}
    return {name: rounded(metric) for name, metric in metrics.items()}


def _count(share: float, n: int) -> int:
    return max(math.ceil(share * n - 1e-9), 1)


def _between(low: float, high: float) -> float:
    """About half way, with the fewest digits: two processors whose scores differ in the last bits write the same threshold."""
    middle = (low + high) / 2
    near = (rounded for digits in _DIGITS if abs((rounded := round(middle, digits)) - middle) <= (high - low) / 4)
    rounded = next(near, high)
    return rounded if low < rounded <= high else high
