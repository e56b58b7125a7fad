"""ROC, reliability and risk against coverage of one model or two, as figures and as SVG that follows the page's colours.

Drawn without a library: the bytes depend on nothing but the answers. Every function takes labels int [N] and, for each model by
its name, probabilities float64 [N, K]. Of two models the first is the reference, a broad pale line under that of the second.
"""

import math
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.report.chart import FLOOR_PX, Axes, Line, draw_chart, draw_line
from limiar.train.record.froc import RATES, Froc
from limiar.train.record.metrics import ECE_BINS, auc, confidence_bins, proportion_interval

Floats = NDArray[np.float64]
Truth = NDArray[np.int64]
Answers = Mapping[str, Floats]

LEAST_COVERAGE = 0.05  # where risk against coverage begins: the error rate of two images means nothing
_MACRO_POINTS = 101  # false positive rates at which the classes' curves are averaged
_FROC_POINTS = 241  # of its line
_CLASSES = ("first", "second")  # of CSS, by a model's place
_COUNTS_PX = 36


def draw_roc(labels: Truth, answers: Answers, positive: int | None) -> str:
    """Sensitivity against 1 - specificity; with more than two labels the mean over "this label or another" of each."""
    axes = Axes((0.0, 1.0), (0.0, 1.0))
    legend, parts = {}, []
    for style, (name, probabilities) in zip(_styles(answers), answers.items(), strict=True):
        line = roc(labels == positive, probabilities[:, positive]) if positive is not None else macro_roc(labels, probabilities)
        area = _area(labels, probabilities, positive)
        legend[style] = f"{name}: {'' if positive is not None else 'mean '}AUC {area:.3f}"
        parts.append(draw_line(axes, line, style))
    chance = draw_line(axes, (np.array([0.0, 1.0]), np.array([0.0, 1.0])), "compare")
    x, y = ("1 - specificity", "sensitivity") if positive is not None else ("other labels called so", "label found")
    return draw_chart("ROC", axes, (x, y), legend, [chance, *parts], (0.0, 0.25, 0.5, 0.75, 1.0), (0.0, 0.25, 0.5, 0.75, 1.0))


def draw_reliability(labels: Truth, answers: Answers) -> str:
    """Share of right answers against the top label's confidence, in 15 bins, with 95 % intervals and the images in each."""
    classes = max((probabilities.shape[1] for probabilities in answers.values()), default=2)
    start = math.floor(ECE_BINS / classes) / ECE_BINS  # a top label has at least 1 / K
    axes = Axes((start, 1.0), (0.0, 1.0), FLOOR_PX - _COUNTS_PX)
    parts = [draw_line(axes, (np.array([start, 1.0]), np.array([start, 1.0])), "compare")]
    legend = {}
    for place, (style, (name, probabilities)) in enumerate(zip(_styles(answers), answers.items(), strict=True)):
        bins = reliability(labels, probabilities)
        legend[style] = f"{name}: ECE {sum(abs(one.accuracy - one.confidence) * one.images for one in bins) / len(labels):.3f}"
        parts += [_whisker(axes, one, style) for one in bins]
        parts += [_count(axes, one, max(other.images for other in bins)) for one in bins if place == len(answers) - 1]
    ticks = [tick for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0) if tick >= start]
    return draw_chart("Reliability", axes, ("confidence; images", "right"), legend, parts, ticks, (0.0, 0.25, 0.5, 0.75, 1.0))


def draw_risk_coverage(labels: Truth, answers: Answers) -> str:
    """The error rate among the most confident images against their share of all."""
    lines = {name: risk_coverage(labels, probabilities) for name, probabilities in answers.items()}
    highest = max((float(risk.max()) for _, risk in lines.values()), default=0.0)
    step = next(size for size in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if highest <= 5 * size or size == 0.25)
    top = max(1, math.ceil(round(highest / step, 9))) * step
    axes = Axes((0.0, 1.0), (0.0, top))
    wrong = (f"{name}: {risk[-1]:.3f} wrong of all" for name, (_, risk) in lines.items())
    legend = dict(zip(_styles(answers), wrong, strict=True))
    parts = [draw_line(axes, line, style) for style, line in zip(_styles(answers), lines.values(), strict=True)]
    ticks = [round(step * number, 9) for number in range(round(top / step) + 1)]
    return draw_chart(
        "Risk and coverage", axes, ("share answered", "share wrong"), legend, parts, (0.0, 0.25, 0.5, 0.75, 1.0), ticks
    )


def draw_froc(found: Froc) -> str:
    """The curve as <svg>, over RATES on a logarithmic axis, with the intervals there."""
    low, high = math.log2(RATES[0]), math.log2(RATES[-1])
    axes = Axes((low, high), (0.0, 1.0))
    fp, sensitivity = np.array(found.curve).T
    logs = np.linspace(low, high, _FROC_POINTS)
    line = draw_line(axes, (logs, np.interp(2.0**logs, fp, sensitivity)), "second")
    whiskers = [
        f'<path class="line second thin" d="M{axes.across(at):.1f} {axes.up(one.low):.1f}V{axes.up(one.high):.1f}"/>'
        for at, one in zip(map(math.log2, RATES), found.sensitivity, strict=True)
    ]
    legend = {"second": f"CPM {found.cpm.value:.3f}"}
    ticks = [math.log2(rate) for rate in RATES]
    sides = ("false peaks per picture", "marks found")
    return draw_chart("FROC", axes, sides, legend, [line, *whiskers], ticks, (0.0, 0.25, 0.5, 0.75, 1.0), _rate)


def roc(is_positive: NDArray[np.bool_], scores: Floats) -> Line:
    """False and true positive rate at every distinct score, from (0, 0) to (1, 1). Both classes must be present."""
    order = np.argsort(-scores, kind="stable")
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(is_positive[order])[last_of_equals]
    misses = np.cumsum(~is_positive[order])[last_of_equals]
    return np.append(0.0, misses / misses[-1]), np.append(0.0, hits / hits[-1])


def macro_roc(labels: Truth, probabilities: Floats) -> Line:
    """The mean over the labels of "this one or another", at 101 false positive rates."""
    rates = np.linspace(0.0, 1.0, _MACRO_POINTS)
    curves = (roc(labels == label, probabilities[:, label]) for label in range(probabilities.shape[1]))
    return rates, np.mean([np.interp(rates, false, true) for false, true in curves], axis=0)


class Bin(msgspec.Struct, frozen=True):
    """Images of about the same confidence."""

    images: int
    confidence: float  # mean
    accuracy: float
    low: float  # of the accuracy's 95 % interval (Wilson)
    high: float


def reliability(labels: Truth, probabilities: Floats) -> list[Bin]:
    """The bins that ECE is summed over, those without an image left out."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    place = confidence_bins(confidence, ECE_BINS)
    found = []
    for number in np.unique(place):
        own = place == number
        images, hits = int(own.sum()), int(right[own].sum())
        found.append(Bin(images, float(confidence[own].mean()), hits / images, *proportion_interval(hits, images)))
    return found


def risk_coverage(labels: Truth, probabilities: Floats) -> Line:
    """Share of the images answered and share of wrong labels among them, for every distinct confidence from the highest down.

    Geifman & El-Yaniv, Selective Classification for Deep Neural Networks (NeurIPS 2017), equations 2 and 3.
    """
    confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != labels
    order = np.argsort(-confidence, kind="stable")
    last_of_equals = np.append(np.diff(confidence[order]) != 0, True)
    answered = np.arange(1, len(labels) + 1)[last_of_equals]
    coverage, risk = answered / len(labels), np.cumsum(wrong[order])[last_of_equals] / answered
    shown = coverage >= LEAST_COVERAGE
    return coverage[shown], risk[shown]


def _styles(answers: Answers) -> tuple[str, ...]:
    """The class of each model's line; a single model is drawn as the second."""
    return _CLASSES[len(_CLASSES) - len(answers) :]


def _area(labels: Truth, probabilities: Floats, positive: int | None) -> float:
    chosen = range(probabilities.shape[1]) if positive is None else [positive]
    return float(np.mean([auc(labels == label, probabilities[:, label]) for label in chosen]))


def _whisker(axes: Axes, one: Bin, style: str) -> str:
    x, y = f"{axes.across(one.confidence):.1f}", f"{axes.up(one.accuracy):.1f}"
    line = f'<path class="line {style} thin" d="M{x} {axes.up(one.low):.1f}V{axes.up(one.high):.1f}"/>'
    return f'{line}<circle class="dot {style}" cx="{x}" cy="{y}" r="{5 if style == "first" else 3.5}"/>'


def _count(axes: Axes, one: Bin, most: int) -> str:
    """The images of a bin, as a bar and a number below the axis."""
    number = math.ceil(round(one.confidence * ECE_BINS, 9))
    left, right = axes.across(max(axes.x[0], (number - 1) / ECE_BINS)), axes.across(number / ECE_BINS)
    floor = axes.bottom + _COUNTS_PX - 2
    top = floor - one.images / most * (_COUNTS_PX - 16)
    bar = f'<path class="count" d="M{left + 1:.1f} {floor}V{top:.1f}H{right - 1:.1f}V{floor}Z"/>'
    text = f"{one.images}" if one.images < 1000 else f"{one.images / 1000:.2g}k"
    return f'{bar}<text class="tiny" x="{(left + right) / 2:.1f}" y="{top - 2:.1f}" text-anchor="middle">{text}</text>'


def _rate(log: float) -> str:
    """1/8, 1/4, ..., 8."""
    return f"{2**log:g}" if log >= 0 else f"1/{2**-log:g}"
