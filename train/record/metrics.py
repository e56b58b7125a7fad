"""How good answers are, with 95 % intervals: the one implementation that training and conversion both report with.

Every function counts the label (the largest probability) of **all** images, referred ones too.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limiar.edge_app.bundle.manifest import REFER, Metric

Z95 = NormalDist().inv_cdf(0.975)  # two-sided 95 %
ECE_BINS = 15  # Guo et al. 2017
RESAMPLES = 1000  # for an interval's ends: 25 are beyond each
DECIMALS = 6  # of a figure in a file: far below its interval, above the last bits that processors differ in
_AT_ONCE = 1 << 20  # draws that are held at once


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: P(score of a positive > score of a negative), ties count one half.

    labels: bool or 0/1 [N], true for the positive class; scores: float [N], larger is more positive.
    The Mann-Whitney statistic (Hanley & McNeil 1982). Raises ValueError when a class is absent.
    """
    positives, negatives = _by_class(labels, scores)
    return float(_placements(positives, negatives).mean())


def auc_interval(labels: ArrayLike, scores: ArrayLike) -> Metric:
    """AUC with DeLong's 95 % interval, taken on the logit scale so that it stays inside 0..1.

    Variance: DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) 837-845, from the placements of either class.
    Logit scale: Pepe, The Statistical Evaluation of Medical Tests (2003), section 5.2.
    If the classes are perfectly separated, that variance is 0; the far end is then Wilson's for a proportion of 1 in
    the smaller class, which is wider than the truth. n is the number of images.
    """
    positives, negatives = _by_class(labels, scores)
    n = len(positives) + len(negatives)
    of_positives, of_negatives = _placements(positives, negatives), 1.0 - _placements(negatives, positives)
    area = float(of_positives.mean())
    smaller = min(len(positives), len(negatives))
    variance = _variance_of_mean(of_positives) + _variance_of_mean(of_negatives)
    if area in (0.0, 1.0) or smaller < 2 or variance == 0.0:
        low, high = proportion_interval(round(area * smaller), smaller)
        return Metric(value=area, low=min(low, area), high=max(high, area), n=n)
    half = Z95 * math.sqrt(variance) / (area * (1.0 - area))  # delta method: d logit(a) = da / (a (1 - a))
    logit = math.log(area / (1.0 - area))
    return Metric(value=area, low=_expit(logit - half), high=_expit(logit + half), n=n)


def auc_difference(labels: ArrayLike, a: ArrayLike, b: ArrayLike) -> Metric:
    """AUC of `a` minus AUC of `b`, two scores of the same images, with DeLong's paired 95 % interval inside -1..1.

    labels: bool or 0/1 [N]; a, b: float [N], larger is more positive. The variance is that of the differences of either
    class's placements: DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) 837-845, equation 5 with contrast (1, -1).
    If it is 0 (the same order of images, or both scores separate the classes perfectly) the interval has no width; it is
    then no proof that larger numbers would show no difference. Raises ValueError when a class is absent or a score is NaN.
    """
    (positives_a, negatives_a), (positives_b, negatives_b) = _by_class(labels, a), _by_class(labels, b)
    of_positives = _placements(positives_a, negatives_a) - _placements(positives_b, negatives_b)
    of_negatives = _placements(negatives_b, positives_b) - _placements(negatives_a, positives_a)
    difference = float(of_positives.mean())
    half = Z95 * math.sqrt(_variance_of_mean(of_positives) + _variance_of_mean(of_negatives))
    n = len(of_positives) + len(of_negatives)
    return Metric(value=difference, low=max(difference - half, -1.0), high=min(difference + half, 1.0), n=n)


def nll(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean negative log likelihood of the true label in nats: -mean(log p_truth); a probability of 0 counts as 1e-300.

    labels: int [N]; probabilities: float [N, K], rows sum to 1.
    """
    return float(log_losses(labels, probabilities).mean())


def log_losses(labels: ArrayLike, probabilities: ArrayLike) -> NDArray[np.float64]:
    """What `nll` is the mean of: float64 [N]."""
    truth, answers = _label_indices(labels), _probabilities(probabilities)
    return np.asarray(-np.log(answers[np.arange(len(truth)), truth].clip(1e-300)))


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Brier's score 0..2: mean over images of sum_k (p_k - [k is the true label])^2.

    Brier, Monthly Weather Review 78 (1950) 1-3, equation 2; with two labels it is twice the square error of one of them.
    labels: int [N]; probabilities: float [N, K].
    """
    return float(square_losses(labels, probabilities).mean())


def square_losses(labels: ArrayLike, probabilities: ArrayLike) -> NDArray[np.float64]:
    """What `brier` is the mean of: float64 [N]."""
    truth, answers = _label_indices(labels), _probabilities(probabilities)
    wanted = np.eye(answers.shape[1])[truth]
    return np.asarray(((answers - wanted) ** 2).sum(axis=1))


def ece(labels: ArrayLike, probabilities: ArrayLike, bins: int = ECE_BINS) -> float:
    """Expected calibration error of the top label, 0..1: sum over bins of n_b / N * |accuracy_b - mean confidence_b|.

    Bins of equal width ((b - 1) / bins, b / bins]. Guo, Pleiss, Sun & Weinberger, On Calibration of Modern Neural Networks
    (ICML 2017), equation 3. labels: int [N]; probabilities: float [N, K].
    """
    truth, answers = _label_indices(labels), _probabilities(probabilities)
    confidence, right = answers.max(axis=1), answers.argmax(axis=1) == truth
    place = confidence_bins(confidence, bins)
    gap = np.bincount(place, weights=right - confidence, minlength=bins)  # n_b * (accuracy_b - confidence_b)
    return float(np.abs(gap).sum() / len(truth))


def ece_interval(labels: ArrayLike, probabilities: ArrayLike, bins: int = ECE_BINS, seed: int = 0) -> Metric:
    """`ece` with a 95 % bootstrap interval inside 0..1; the same seed gives the same ends.

    labels: int [N]; probabilities: float [N, K]. The value is Guo's, which is too high, the more so the fewer images: chance
    alone opens a gap in every bin, and a gap counts whichever way it points (Kumar, Liang & Ma, Verified Uncertainty
    Calibration, NeurIPS 2019, section 4). A resampled set is too high by as much again, so percentiles would be too high twice
    over. The ends are therefore the basic bootstrap's, 2 ece - q(0.975) and 2 ece - q(0.025) of RESAMPLES sets drawn with
    replacement (Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 5.2), as in Kumar's own code; most of
    the interval may lie below the value. The lower end is 0 if confidences that are exactly right would give such a value in
    more than 2.5 % of draws of the outcomes (consistency resampling, Bröcker & Smith, Weather and Forecasting 22 (2007)
    651-661). Covers the error of these bins, which is at most that of the confidences themselves (Kumar, section 3);
    tests/edge_app measures how often.
    """
    truth, answers = _label_indices(labels), _probabilities(probabilities)
    confidence, right = answers.max(axis=1), answers.argmax(axis=1) == truth
    place, n = confidence_bins(confidence, bins), len(truth)
    value = ece(truth, answers, bins)
    rng = np.random.default_rng(seed)
    again, if_right = np.empty(RESAMPLES), np.empty(RESAMPLES)
    step = max(1, _AT_ONCE // n)
    for start in range(0, RESAMPLES, step):
        sets = len(again[start : start + step])
        drawn = rng.integers(n, size=(sets, n))
        again[start : start + sets] = _errors((right - confidence)[drawn], place[drawn], bins)
        outcomes = rng.random((sets, n)) < confidence
        if_right[start : start + sets] = _errors(outcomes - confidence, np.broadcast_to(place, (sets, n)), bins)
    below, above = np.quantile(again, (0.025, 0.975))
    low = 0.0 if value <= np.quantile(if_right, 0.975) else max(0.0, 2 * value - float(above))
    return Metric(value=value, low=min(low, value), high=min(1.0, max(value, 2 * value - float(below))), n=n)


def _errors(gaps: NDArray[np.float64], place: NDArray[np.int64], bins: int) -> NDArray[np.float64]:
    """The ECE of each row of images. gaps: [rows, N], right - confidence; place: [rows, N], the bins."""
    rows, n = gaps.shape
    own = place + bins * np.arange(rows)[:, np.newaxis]
    sums = np.bincount(own.ravel(), weights=gaps.ravel(), minlength=rows * bins).reshape(rows, bins)
    return np.asarray(np.abs(sums).sum(axis=1) / n)


def confidence_bins(confidence: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """The bin, 0..bins-1, of each confidence 0..1: bin b holds (b / bins, (b + 1) / bins], the first one 0 too."""
    upper = np.arange(1, bins) / bins
    return np.searchsorted(upper, confidence, side="left").astype(np.int64)


def proportion_interval(k: int, n: int) -> tuple[float, float]:
    """95 % score interval of k in n, inside 0..1. Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212.

    Raises ValueError for n < 1 or k outside 0..n.
    """
    if not 0 <= k <= n or n < 1:
        raise ValueError(f"not a proportion: {k} of {n}")
    share, square = k / n, Z95 * Z95
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = Z95 / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    low = 0.0 if k == 0 else centre - half  # exact at the ends, where rounding would leave 1e-17
    high = 1.0 if k == n else centre + half
    return low, high


def proportion(k: int, n: int) -> Metric:
    """k in n as a Metric with Wilson's 95 % interval."""
    low, high = proportion_interval(k, n)
    return Metric(value=k / n, low=low, high=high, n=n)


def mean(values: ArrayLike) -> Metric:
    """The mean of float [N] with the normal 95 % interval, value +- z s / sqrt(N): for the losses of many images."""
    each = np.asarray(values, dtype=np.float64)
    value, half = float(each.mean()), Z95 * math.sqrt(_variance_of_mean(each))
    return Metric(value=value, low=value - half, high=value + half, n=len(each))


def rounded(metric: Metric) -> Metric:
    """To DECIMALS: as it is written into a file that must come out the same again."""
    value, low, high = (round(x, DECIMALS) for x in (metric.value, metric.low, metric.high))
    return Metric(value=value, low=low, high=high, n=metric.n)


def smallest_margin(n: int, alpha: float = 0.05) -> float:
    """The smallest loss of a class that n of its images can rule out, 0..1, one-sided at alpha.

    A model file that answers each of these images as Keras does may still have lost this much.
    The larger of two bounds for 0 images of n that differ: the exact one, at which (1 - loss)^n = alpha (Hanley &
    Lippman-Hand, JAMA 249 (1983) 1743-1745), and Tango's, z^2 / (n + z^2) with z the normal quantile of 1 - alpha (Statistics
    in Medicine 17 (1998) 891-908, equation 11 without discordant pairs). With alpha = 0.05 and 3 images or more it is what the
    gate of `limiar convert` gets, to 0.00003. n = 26: 0.109; n = 59 is the first below 0.05. Raises ValueError for n < 1 or
    alpha outside 0..0.5.
    """
    if n < 1 or not 0.0 < alpha < 0.5:
        raise ValueError(f"not a number of images and an alpha: {n} and {alpha}")
    square = NormalDist().inv_cdf(1 - alpha) ** 2
    return max(1.0 - float(alpha ** (1 / n)), square / (n + square))


def images_for_margin(margin: float, alpha: float = 0.05) -> int:
    """How many images of a class it takes to rule out a loss of `margin`, 0..1, if a file loses none.

    The smallest n whose `smallest_margin` is below it. margin = 0.05: 59. Raises ValueError for a margin outside 0..1 or an
    alpha outside 0..0.5.
    """
    if not 0.0 < margin < 1.0 or not 0.0 < alpha < 0.5:
        raise ValueError(f"not a margin and an alpha: {margin} and {alpha}")
    square = NormalDist().inv_cdf(1 - alpha) ** 2
    needed = max(math.log(alpha) / math.log1p(-margin), square * (1 - margin) / margin)
    n = max(1, math.floor(needed))  # the last one that may not be enough
    return n if smallest_margin(n, alpha) < margin else n + 1


def binary_metrics(
    labels: ArrayLike, probabilities: ArrayLike, positive: int, answered: ArrayLike | None = None
) -> dict[str, Metric]:
    """Accuracy, sensitivity, specificity and AUC of two classes.

    labels: int [N], 0 or 1; probabilities: float [N, 2]; positive: the index of the positive class; answered: int [N], the
    label that each image got; None: the one with the largest probability.
    Sensitivity is the recall of the positive class, specificity that of the other. Raises ValueError when a class is absent.
    """
    truth, answers = _label_indices(labels), _probabilities(probabilities)
    if answers.shape[1] != 2:
        raise ValueError(f"expected two classes, got {answers.shape[1]}")
    right = _answered(answers, answered) == truth
    is_positive = truth == positive
    return {
        "accuracy": proportion(int(right.sum()), len(right)),
        "sensitivity": proportion(int(right[is_positive].sum()), int(is_positive.sum())),
        "specificity": proportion(int(right[~is_positive].sum()), int((~is_positive).sum())),
        "auc": auc_interval(is_positive, answers[:, positive]),
    }


def class_metrics(
    labels: ArrayLike,
    probabilities: ArrayLike,
    names: Sequence[str],
    positive: str | None,
    answered: ArrayLike | None = None,
) -> dict[str, Metric]:
    """The metrics of any classifier: binary_metrics of two classes, else accuracy and `recall_<name>` of each class.

    labels: int [N]; probabilities: float [N, K]; names: the K class names; positive: one of them, None when K > 2; answered:
    int [N], the label that each image got; None: the one with the largest probability.
    """
    if positive is not None:
        return binary_metrics(labels, probabilities, list(names).index(positive), answered)
    truth = _label_indices(labels)
    right = _answered(_probabilities(probabilities), answered) == truth
    recalls = {
        f"recall_{name}": proportion(int(right[truth == k].sum()), int((truth == k).sum())) for k, name in enumerate(names)
    }
    return {"accuracy": proportion(int(right.sum()), len(right))} | recalls


def decided_metrics(
    labels: ArrayLike, probabilities: ArrayLike, refer_below: float, answered: ArrayLike | None = None
) -> dict[str, Metric]:
    """`refer_rate`, and `accuracy_decided` among the others (left out if every image is referred).

    An image is referred if the probability of the label that it got is below refer_below (0..1). answered: int [N], these
    labels; None: those with the largest probability.
    """
    truth, answers = _label_indices(labels), _probabilities(probabilities)
    label = _answered(answers, answered)
    decided = answers[np.arange(len(label)), label] >= refer_below
    right = label == truth
    metrics = {"refer_rate": proportion(int((~decided).sum()), len(decided))}
    if decided.any():
        metrics["accuracy_decided"] = proportion(int(right[decided].sum()), int(decided.sum()))
    return metrics


def decision_metrics(labels: Sequence[str], decisions: Sequence[str]) -> dict[str, Metric]:
    """The same from what a device decided: a label, or REFER for whatever reason. An image that it refused counts as wrong."""
    decided = [(label, decision) for label, decision in zip(labels, decisions, strict=True) if decision != REFER]
    metrics = {"refer_rate": proportion(len(decisions) - len(decided), len(decisions))}
    if decided:
        metrics["accuracy_decided"] = proportion(sum(label == decision for label, decision in decided), len(decided))
    return metrics


def _answered(probabilities: NDArray[np.float64], answered: ArrayLike | None) -> NDArray[np.int64]:
    return np.asarray(probabilities.argmax(axis=1)) if answered is None else _label_indices(answered)


def _label_indices(labels: ArrayLike) -> NDArray[np.int64]:
    return np.asarray(labels, dtype=np.int64)


def _probabilities(probabilities: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(probabilities, dtype=np.float64)


def _by_class(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The scores of the positives and of the negatives."""
    is_positive, values = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    if np.isnan(values).any():
        raise ValueError("a score is NaN")
    if is_positive.all() or not is_positive.any():
        raise ValueError("an AUC needs images of both classes")
    return values[is_positive], values[~is_positive]


def _placements(ours: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each of our scores the share of the others below it, ties counted one half (DeLong's V10 and V01)."""
    ordered = np.sort(others)
    below, not_above = np.searchsorted(ordered, ours, "left"), np.searchsorted(ordered, ours, "right")
    return (below + not_above) / (2.0 * len(others))


def _variance_of_mean(values: NDArray[np.float64]) -> float:
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0


def _expit(x: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * x))  # the logistic function; does not overflow for a large -x
