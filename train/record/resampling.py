"""Intervals by drawing again: of figures that have no formula, and of images that come in groups (patients, scans).

Images of one group resemble each other, so an interval that takes each image for independent is too narrow. Whole groups are
drawn, with replacement, and the ends are percentiles (Davison & Hinkley, Bootstrap Methods and their Application, 1997,
sections 3.8 and 5.3). Each figure is given as a function of weights, float64 [R, N]: how often each image is in each of R
drawings.
"""

from collections.abc import Callable, Iterator, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.bundle.manifest import Metric
from limiar.train.record.metrics import RESAMPLES, confidence_bins, proportion_interval

Floats = NDArray[np.float64]
Images = NDArray[np.bool_]  # [N]
Groups = NDArray[np.int64]  # [N], equal numbers for images of one group

_AT_ONCE = 1 << 20  # weights that are held at once


class Figure(msgspec.Struct, frozen=True):
    """A figure of weighted images."""

    of: Callable[[Floats], Floats]  # weights [R, N] -> the figure of each drawing, [R]; NaN where it has none
    among: Images  # those that it can depend on; of an AUC, the smaller class


def share_of(hits: Images, among: Images) -> Figure:
    """The share of hits among some of the images."""
    return Figure(lambda weights: _divided(weights @ (hits & among), weights @ among), among)


def ratio_of(above: Floats, below: Floats) -> Figure:
    """The sum of one number over the sum of another, of pictures with several places each. Both: float64 [N]."""
    return Figure(lambda weights: _divided(weights @ above, weights @ below), below > 0)


def mean_of(values: Floats) -> Figure:
    """The mean over the images. values: float64 [N]."""
    return Figure(lambda weights: _divided(weights @ values, weights.sum(axis=1)), np.full(len(values), True))


def auc_of(is_positive: Images, scores: Floats) -> Figure:
    """The area under the ROC curve, as `metrics.auc`. scores: float64 [N]."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) != 0))  # of each distinct score

    def figure(weights: Floats) -> Floats:
        positives = np.add.reduceat((weights * is_positive)[:, order], starts, axis=1)
        negatives = np.add.reduceat((weights * ~is_positive)[:, order], starts, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives
        wins = (positives * (below + negatives / 2)).sum(axis=1)
        return _divided(wins, positives.sum(axis=1) * negatives.sum(axis=1))

    return Figure(figure, is_positive if 2 * is_positive.sum() <= len(scores) else ~is_positive)


def ece_of(right: Images, confidence: Floats, bins: int) -> Figure:
    """The expected calibration error, as `metrics.ece`. confidence: float64 [N], of the top label."""
    gaps = np.zeros((len(right), bins))
    gaps[np.arange(len(right)), confidence_bins(confidence, bins)] = right - confidence
    return Figure(lambda weights: _divided(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1)), np.full(len(right), True))


def by_group(metrics: Mapping[str, Metric], figures: Mapping[str, Figure], groups: Groups) -> dict[str, Metric]:
    """The metrics with intervals that allow for groups. figures: of the same names; the same seed is always used."""
    drawn = resampled(figures, groups)
    return {
        name: with_ends(metric, drawn[name], len(np.unique(groups[figures[name].among]))) for name, metric in metrics.items()
    }


def resampled(figures: Mapping[str, Figure], groups: Groups, seed: int = 0) -> dict[str, Floats]:
    """Each figure of RESAMPLES drawings of whole groups; those drawings are left out in which it has none."""
    found: dict[str, list[Floats]] = {name: [] for name in figures}
    for weights in drawings(groups, seed):
        for name, figure in figures.items():
            found[name].append(figure.of(weights))
    every = {name: np.concatenate(parts) for name, parts in found.items()}
    return {name: values[~np.isnan(values)] for name, values in every.items()}


def with_ends(metric: Metric, drawn: Floats, groups: int) -> Metric:
    """The metric with the 2.5 and 97.5 % percentiles of what was drawn from so many groups.

    If no drawing moves a share from 0 or 1 (all images right, perfect separation), they would coincide: then the interval is
    Wilson's, as if each group were one image.
    """
    low, high = (float(end) for end in np.quantile(drawn, (0.025, 0.975))) if len(drawn) else (metric.value, metric.value)
    if low == high and metric.value in (0.0, 1.0):
        low, high = proportion_interval(round(metric.value * groups), groups)
    return Metric(value=metric.value, low=min(low, metric.value), high=max(high, metric.value), n=metric.n)


def drawings(groups: Groups, seed: int = 0) -> Iterator[Floats]:
    """Weights, some rows at a time, RESAMPLES in all."""
    rng = np.random.default_rng(seed)
    named, groups = np.unique(groups, return_inverse=True)
    count = len(named)
    step = max(1, _AT_ONCE // len(groups))
    for start in range(0, RESAMPLES, step):
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=min(step, RESAMPLES - start))
        yield drawn[:, groups].astype(np.float64)


def _divided(above: Floats, below: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.asarray(above / below)  # 0 / 0 is NaN
