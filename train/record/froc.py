"""How well marked places are found: FROC and CPM, for detections with scores in pictures that may hold several places.

The definition of the LUNA16 challenge (Setio et al., Medical Image Analysis 42 (2017) 1-13, section 3.4): a mark is found if a
detection is within its radius; of several the highest score counts and the others are ignored, so that they are not false
positives; every detection within no mark's radius is one. Marks may be there that do not count either way (the challenge's
irrelevant findings). CPM (competition performance metric) is the mean sensitivity at
RATES false positives per picture (Niemeijer et al., IEEE Transactions on Medical Imaging 30 (2011) 215-223, section II-C).
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.bundle.manifest import Metric
from limiar.train.record.metrics import mean, proportion
from limiar.train.record.resampling import Groups, by_group, drawings, mean_of, ratio_of, with_ends

Floats = NDArray[np.float64]

RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)  # false positives per picture
_NO_MARK = "no mark to be found"


class Mark(msgspec.Struct, frozen=True):
    """A place that should be found, or one where it does not matter."""

    x: float  # px or mm, as the detections
    y: float
    radius: float
    counts: bool = True  # False: whether it is found does not matter, and a detection there is not false

    def holds(self, one: "Detection") -> bool:
        """Whether a detection is within its radius."""
        return math.hypot(one.x - self.x, one.y - self.y) <= self.radius


class Detection(msgspec.Struct, frozen=True):
    """A place that was found."""

    x: float
    y: float
    score: float


class Matched(msgspec.Struct, frozen=True):
    """What became of one picture's marks and detections."""

    found: tuple[float | None, ...]  # of each mark that counts: the highest score on it; None if it was missed
    false: tuple[float, ...]  # scores of the detections on no mark


class Froc(msgspec.Struct, frozen=True):
    """How well places are found at any threshold. Intervals, 95 %, are over pictures, or groups of them, drawn again."""

    cpm: Metric  # n is the number of pictures, here and below
    sensitivity: tuple[Metric, ...]  # at each of RATES
    curve: tuple[tuple[float, float], ...]  # false positives per picture, sensitivity: a point for each distinct score


class AtThreshold(msgspec.Struct, frozen=True):
    """How well places are found at one threshold, with intervals as above."""

    sensitivity: Metric  # share of the marks that were found; n is their number
    false_positives: Metric  # per picture; n is the number of pictures


def matched(marks: Sequence[Mark], detections: Sequence[Detection]) -> Matched:
    """Compares one picture's detections with its marks. A detection within two marks finds both, as in LUNA16's own script."""
    hits = [(mark, [one.score for one in detections if mark.holds(one)]) for mark in marks]
    false = [one.score for one in detections if not any(mark.holds(one) for mark in marks)]
    return Matched(tuple(max(scores, default=None) for mark, scores in hits if mark.counts), tuple(false))


def froc(pictures: Sequence[Matched], groups: Groups) -> Froc:
    """FROC and CPM; the pictures have every detection, whatever its score. Raises ValueError: there is no mark in any picture.

    groups: [N], equal numbers for pictures of one patient, that are drawn together.
    Between two points of the curve the sensitivity is interpolated, and beyond its last point it stays.
    """
    curves = _Curves(pictures)
    fp, sensitivity = curves.of(np.ones(len(pictures)))
    each = [weights for rows in drawings(groups) for weights in rows if weights @ curves.marks]
    drawn = np.array([_at_rates(*curves.of(weights)) for weights in each])
    marked = len(np.unique(groups[curves.marks > 0]))
    *at_rates, cpm = (
        with_ends(Metric(value, value, value, len(pictures)), drawn[:, column], marked)
        for column, value in enumerate(_at_rates(fp, sensitivity))
    )
    return Froc(cpm, tuple(at_rates), tuple(zip(fp.tolist(), sensitivity.tolist(), strict=True)))


def at_threshold(pictures: Sequence[Matched], groups: Groups) -> AtThreshold:
    """What was found, of the detections that a device reports. groups, and raises, as `froc`."""
    marks = np.array([len(picture.found) for picture in pictures])
    found = np.array([sum(score is not None for score in picture.found) for picture in pictures])
    false = np.array([len(picture.false) for picture in pictures], dtype=np.float64)
    if not marks.any():
        raise ValueError(_NO_MARK)
    metrics = {"sensitivity": proportion(int(found.sum()), int(marks.sum())), "false": mean(false)}
    figures = {"sensitivity": ratio_of(found, marks), "false": mean_of(false)}
    drawn = by_group(metrics, figures, groups)
    return AtThreshold(drawn["sensitivity"], drawn["false"])


def _at_rates(fp: Floats, sensitivity: Floats) -> list[float]:
    """The sensitivity at each of RATES, and their mean."""
    at_rates = np.interp(RATES, fp, sensitivity)
    return [*at_rates.tolist(), float(at_rates.mean())]


class _Curves:
    """The scores of all pictures in order, and which picture each is from."""

    def __init__(self, pictures: Sequence[Matched]) -> None:
        self.marks = np.array([len(picture.found) for picture in pictures], dtype=np.int64)
        if not self.marks.any():
            raise ValueError(_NO_MARK)
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
