"""How well marked places are found: FROC and CPM, for detections with scores in pictures that may hold several places.

The definition of the LUNA16 challenge (Setio et al., Medical Image Analysis 42 (2017) 1-13, section 3.4): a mark is found if a
detection is within its radius; of several the highest score counts and the others are ignored, so that they are not false
positives; every detection within no mark's radius is one. CPM (competition performance metric) is the mean sensitivity at
RATES false positives per picture (Niemeijer et al., IEEE Transactions on Medical Imaging 30 (2011) 215-223, section II-C).
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.bundle.manifest import Metric
from limiar.train.record.resampling import drawings, with_ends

Floats = NDArray[np.float64]

RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)  # false positives per picture


class Mark(msgspec.Struct, frozen=True):
    """A place that should be found."""

    x: float  # px or mm, as the detections
    y: float
    radius: float


class Detection(msgspec.Struct, frozen=True):
    """A place that was found."""

    x: float
    y: float
    score: float


class Matched(msgspec.Struct, frozen=True):
    """What became of one picture's marks and detections."""

    found: tuple[float | None, ...]  # of each mark: the highest score on it; None if it was missed
    false: tuple[float, ...]  # scores of the detections on no mark


class Froc(msgspec.Struct, frozen=True):
    """FROC of several pictures, with 95 % intervals over pictures drawn again."""

    pictures: int
    marks: int
    cpm: Metric  # n is the number of pictures, here and below
    sensitivity: tuple[Metric, ...]  # at each of RATES
    found: Metric  # share of the marks with a detection, at whatever number of false positives
    false: float  # false positives per picture then
    curve: tuple[tuple[float, float], ...]  # false positives per picture, sensitivity: a point for each distinct score


def matched(marks: Sequence[Mark], detections: Sequence[Detection]) -> Matched:
    """Compares one picture's detections with its marks. A detection within two marks finds both, as in LUNA16's own script."""
    hits: list[list[float]] = [[] for _ in marks]
    false = []
    for one in detections:
        near = [k for k, mark in enumerate(marks) if math.hypot(one.x - mark.x, one.y - mark.y) <= mark.radius]
        for k in near:
            hits[k].append(one.score)
        if not near:
            false.append(one.score)
    return Matched(tuple(max(scores, default=None) for scores in hits), tuple(false))


def froc(pictures: Sequence[Matched]) -> Froc:
    """FROC and CPM. Raises ValueError: there is no mark in any picture.

    Between two points of the curve the sensitivity is interpolated, and beyond its last point it stays: a detector that reports
    nothing below its threshold finds no more.
    """
    curves = _Curves(pictures)
    fp, sensitivity = curves.of(np.ones(len(pictures)))
    each = [weights for rows in drawings(np.arange(len(pictures))) for weights in rows if weights @ curves.marks]
    drawn = np.array([_figures(*curves.of(weights)) for weights in each])
    marked = int((curves.marks > 0).sum())
    *at_rates, cpm, found = (
        with_ends(Metric(value, value, value, len(pictures)), drawn[:, column], marked)
        for column, value in enumerate(_figures(fp, sensitivity))
    )
    return Froc(
        pictures=len(pictures),
        marks=int(curves.marks.sum()),
        cpm=cpm,
        sensitivity=tuple(at_rates),
        found=found,
        false=float(fp[-1]),
        curve=tuple(zip(fp.tolist(), sensitivity.tolist(), strict=True)),
    )


def _figures(fp: Floats, sensitivity: Floats) -> list[float]:
    """The sensitivity at each of RATES, their mean, and the sensitivity at the end of the curve."""
    at_rates = np.interp(RATES, fp, sensitivity)
    return [*at_rates.tolist(), float(at_rates.mean()), float(sensitivity[-1])]


class _Curves:
    """The scores of all pictures in order, and which picture each is from."""

    def __init__(self, pictures: Sequence[Matched]) -> None:
        self.marks = np.array([len(picture.found) for picture in pictures], dtype=np.int64)
        if not self.marks.any():
            raise ValueError("no mark to be found")
        rows = [
            (score, number, hit)
            for number, picture in enumerate(pictures)
            for hit, scores in ((True, picture.found), (False, picture.false))
            for score in scores
            if score is not None
        ]
        rows.sort(key=lambda row: -row[0])
        scores = np.array([row[0] for row in rows])
        self._picture = np.array([row[1] for row in rows], dtype=np.int64)
        self._hit = np.array([row[2] for row in rows], dtype=bool)
        self._last = np.append(np.diff(scores) != 0, True)[: len(rows)]  # of detections with equal scores

    def of(self, weights: Floats) -> tuple[Floats, Floats]:
        """False positives per picture and sensitivity, from (0, 0), if each picture is there so many times."""
        own = weights[self._picture]
        found = np.cumsum(own * self._hit)[self._last] / (weights @ self.marks)
        false = np.cumsum(own * ~self._hit)[self._last] / weights.sum()
        return np.append(0.0, false), np.append(0.0, found)
