"""ROC, reliability and risk against coverage of two models, as SVG that follows the page's colours.

Drawn without a library: the bytes depend on nothing but the answers. Every function takes labels int [N] and, for each model by
its name, probabilities float64 [N, K]; the first is the reference (a broad pale line), the second lies upon it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.text import for_html as escape
from limiar.train.record.metrics import ECE_BINS, auc, confidence_bins, proportion_interval

Floats = NDArray[np.float64]
Truth = NDArray[np.int64]
Answers = Mapping[str, Floats]
Line = tuple[Floats, Floats]  # x and y, as many of each

LEAST_COVERAGE = 0.05  # where risk against coverage begins: the error rate of two images means nothing
_MACRO_POINTS = 101  # false positive rates at which the classes' curves are averaged
_CLASSES = ("first", "second")  # of CSS, by a model's place
_WIDTH_PX, _HEIGHT_PX, _LEFT_PX, _RIGHT_PX, _TOP_PX, _BOTTOM_PX = 330, 320, 48, 12, 44, 42
_LEGEND_PX, _COUNTS_PX = 16, 36


class _Axes(msgspec.Struct, frozen=True):
    """A square of the picture, and what its sides mean."""

    x: tuple[float, float]
    y: tuple[float, float]
    bottom: int = _HEIGHT_PX - _BOTTOM_PX

    def across(self, value: float) -> float:
        low, high = self.x
        return _LEFT_PX + (value - low) / (high - low) * (_WIDTH_PX - _LEFT_PX - _RIGHT_PX)

    def up(self, value: float) -> float:
        low, high = self.y
        return self.bottom - (value - low) / (high - low) * (self.bottom - _TOP_PX)


def draw_roc(labels: Truth, answers: Answers, positive: int | None) -> str:
    """Sensitivity against 1 - specificity; with more than two labels the mean over "this label or another" of each."""
    axes = _Axes((0.0, 1.0), (0.0, 1.0))
    names, parts = [], []
    for style, (name, probabilities) in zip(_CLASSES, answers.items(), strict=False):
        line = roc(labels == positive, probabilities[:, positive]) if positive is not None else macro_roc(labels, probabilities)
        area = _area(labels, probabilities, positive)
        names.append(f"{name}: {'' if positive is not None else 'mean '}AUC {area:.3f}")
        parts.append(_line(axes, line, style))
    chance = _line(axes, (np.array([0.0, 1.0]), np.array([0.0, 1.0])), "compare")
    x, y = ("1 - specificity", "sensitivity") if positive is not None else ("other labels called so", "label found")
    return _svg("ROC", axes, (x, y), names, [chance, *parts], (0.0, 0.25, 0.5, 0.75, 1.0), (0.0, 0.25, 0.5, 0.75, 1.0))


def draw_reliability(labels: Truth, answers: Answers) -> str:
    """Share of right answers against the top label's confidence, in 15 bins, with 95 % intervals and the images in each."""
    classes = max((probabilities.shape[1] for probabilities in answers.values()), default=2)
    start = math.floor(ECE_BINS / classes) / ECE_BINS  # a top label has at least 1 / K
    axes = _Axes((start, 1.0), (0.0, 1.0), _HEIGHT_PX - _BOTTOM_PX - _COUNTS_PX)
    parts = [_line(axes, (np.array([start, 1.0]), np.array([start, 1.0])), "compare")]
    names = []
    for place, (style, (name, probabilities)) in enumerate(zip(_CLASSES, answers.items(), strict=False)):
        bins = reliability(labels, probabilities)
        names.append(f"{name}: ECE {sum(abs(one.accuracy - one.confidence) * one.images for one in bins) / len(labels):.3f}")
        parts += [_whisker(axes, one, style) for one in bins]
        parts += [_count(axes, one, max(other.images for other in bins)) for one in bins if place == len(answers) - 1]
    ticks = [tick for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0) if tick >= start]
    return _svg("Reliability", axes, ("confidence; images", "right"), names, parts, ticks, (0.0, 0.25, 0.5, 0.75, 1.0))


def draw_risk_coverage(labels: Truth, answers: Answers) -> str:
    """The error rate among the most confident images against their share of all."""
    lines = {name: risk_coverage(labels, probabilities) for name, probabilities in answers.items()}
    highest = max((float(risk.max()) for _, risk in lines.values()), default=0.0)
    step = next(size for size in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if highest <= 5 * size or size == 0.25)
    top = max(1, math.ceil(round(highest / step, 9))) * step
    axes = _Axes((0.0, 1.0), (0.0, top))
    names = [f"{name}: {risk[-1]:.3f} wrong of all" for name, (_, risk) in lines.items()]
    parts = [_line(axes, line, style) for style, line in zip(_CLASSES, lines.values(), strict=False)]
    ticks = [round(step * number, 9) for number in range(round(top / step) + 1)]
    return _svg("Risk and coverage", axes, ("share answered", "share wrong"), names, parts, (0.0, 0.25, 0.5, 0.75, 1.0), ticks)


def roc(is_positive: NDArray[np.bool_], scores: Floats) -> Line:
    """False and true positive rate at every distinct score, from (0, 0) to (1, 1). Both classes must be there."""
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


def _area(labels: Truth, probabilities: Floats, positive: int | None) -> float:
    chosen = range(probabilities.shape[1]) if positive is None else [positive]
    return float(np.mean([auc(labels == label, probabilities[:, label]) for label in chosen]))


def _svg(
    title: str,
    axes: _Axes,
    sides: tuple[str, str],
    names: Sequence[str],
    parts: Iterable[str],
    x_ticks: Iterable[float],
    y_ticks: Iterable[float],
) -> str:
    described = escape(f"{title}. {sides[1]} against {sides[0]}. {'; '.join(names)}")
    right, middle = _WIDTH_PX - _RIGHT_PX, (axes.bottom + _TOP_PX) // 2
    drawn = [
        f'<svg class="curve" viewBox="0 0 {_WIDTH_PX} {_HEIGHT_PX}" width="{_WIDTH_PX}" role="img" aria-label="{described}">'
    ]
    for style, place, name in zip(_CLASSES, range(len(names)), names, strict=False):
        y = 10 + place * _LEGEND_PX
        drawn.append(f'<path class="line {style}" d="M{_LEFT_PX} {y}h22"/>')
        drawn.append(f'<text x="{_LEFT_PX + 30}" y="{y + 4}">{escape(name)}</text>')
    for tick in x_ticks:
        x = f"{axes.across(tick):.1f}"
        drawn.append(f'<path class="grid" d="M{x} {_TOP_PX}V{axes.bottom}"/>')
        drawn.append(f'<text class="tick" x="{x}" y="{_HEIGHT_PX - _BOTTOM_PX + 15}" text-anchor="middle">{tick:g}</text>')
    for tick in y_ticks:
        y_text = f"{axes.up(tick):.1f}"
        drawn.append(f'<path class="grid" d="M{_LEFT_PX} {y_text}H{right}"/>')
        drawn.append(f'<text class="tick" x="{_LEFT_PX - 6}" y="{axes.up(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    centre = (_LEFT_PX + right) // 2
    drawn.append(f'<text class="head" x="{centre}" y="{_HEIGHT_PX - 8}" text-anchor="middle">{escape(sides[0])}</text>')
    turned = f'transform="translate(12 {middle}) rotate(-90)"'
    drawn.append(f'<text class="head" {turned} text-anchor="middle">{escape(sides[1])}</text>')
    return "".join([*drawn, *parts, "</svg>"])


def _line(axes: _Axes, line: Line, style: str) -> str:
    """A path; points that fall on the same tenth of a pixel are drawn once."""
    points = [f"{axes.across(x):.1f} {axes.up(y):.1f}" for x, y in zip(*line, strict=True)]
    seen = [point for before, point in zip([None, *points], points, strict=False) if point != before]
    return f'<path class="line {style}" d="M{"L".join(seen)}"/>' if seen else ""


def _whisker(axes: _Axes, one: Bin, style: str) -> str:
    x, y = f"{axes.across(one.confidence):.1f}", f"{axes.up(one.accuracy):.1f}"
    line = f'<path class="line {style} thin" d="M{x} {axes.up(one.low):.1f}V{axes.up(one.high):.1f}"/>'
    return f'{line}<circle class="dot {style}" cx="{x}" cy="{y}" r="{5 if style == "first" else 3.5}"/>'


def _count(axes: _Axes, one: Bin, most: int) -> str:
    """The images of a bin, as a bar and a number below the axis."""
    number = math.ceil(round(one.confidence * ECE_BINS, 9))
    left, right = axes.across(max(axes.x[0], (number - 1) / ECE_BINS)), axes.across(number / ECE_BINS)
    floor = axes.bottom + _COUNTS_PX - 2
    top = floor - one.images / most * (_COUNTS_PX - 16)
    bar = f'<path class="count" d="M{left + 1:.1f} {floor}V{top:.1f}H{right - 1:.1f}V{floor}Z"/>'
    text = f"{one.images}" if one.images < 1000 else f"{one.images / 1000:.2g}k"
    return f'{bar}<text class="tiny" x="{(left + right) / 2:.1f}" y="{top - 2:.1f}" text-anchor="middle">{text}</text>'
