"""Drift: whether the images that a device answers are still like those that the bundle was judged on.

Answers are taken in windows. Each statistic of a window, and of the last two windows together, is compared with the bundle's
reference by a two-sample test that counts the reference's size too, and the limit of its p value is such that together all the
tests of a window raise a false alarm with at most FALSE_ALARM (docs/drift.md).
"""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from limiar.edge_app.bundle.manifest import REFER
from limiar.edge_app.drift.reference import Distribution, Reference, compared

WINDOW = 250  # answers
# The probability that a window without drift raises an alarm, at most: one in 10,000 windows, seven years of 1,000 images a
# day. It holds for images that come independently of each other.
FALSE_ALARM = 1e-4
_OVER = 0.01  # p value of both tests, above which a warning is over: not at the alarm's limit, where it would come and go
_SPANS = 2  # the last window, and the last two together
_PSI_BINS = 10  # as the rules of thumb assume (0.1: some, 0.25: much)
_HALF = 0.5  # an image in each bin, so that the index of an empty bin is finite

Direction = Literal["higher", "lower", "other"]  # other: neither, such as a wider spread

_WORDS = {
    "mean": "mean brightness",
    "deviation": "contrast",
    "low": "brightness of the darkest parts",
    "high": "brightness of the brightest parts",
    "sharpness": "sharpness",
    "clipped": "share of black or white pixels",
    "colour": "colourfulness",
    "confidence": "confidence",
}


class DriftWarning(msgspec.Struct, frozen=True):
    """A statistic that differs from the reference."""

    first: int  # of the answers compared, counted from 1 since the monitor began
    last: int
    statistic: str  # of STATISTICS, "confidence", "refer rate", or "share of LABEL"
    psi: float  # population stability index against the reference: 0 is equal
    p: float  # of the test; for a label's share already multiplied by the number of shares
    direction: Direction
    message: str  # one line for a person


class DriftState(msgspec.Struct, frozen=True):
    """Where a monitor stands."""

    answers: int  # compared so far, or waiting for their window to be full
    window: int
    lasting: tuple[DriftWarning, ...]  # as they were first seen


class _Window:
    """Counts of a window: a list for each distribution, and the decisions."""

    def __init__(self, reference: Reference) -> None:
        self.images = 0
        self.bins = [[0] * len(one.outer_counts) for one in reference.distributions.values()]
        self.decisions = dict.fromkeys(reference.decisions, 0)

    def plus(self, other: "_Window", reference: Reference) -> "_Window":
        both = _Window(reference)
        both.images = self.images + other.images
        both.bins = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(self.bins, other.bins, strict=True)]
        both.decisions = {name: count + other.decisions[name] for name, count in self.decisions.items()}
        return both


class Monitor:
    """Compares a device's answers with its bundle's reference. Keeps counts, not answers."""

    def __init__(self, reference: Reference, window: int = WINDOW) -> None:
        """window: answers that are compared at once."""
        self._reference = reference
        self._size = window
        families = len(reference.distributions) + bool(reference.decisions)
        self._limit = FALSE_ALARM / (_SPANS * families)  # Bonferroni
        self._answers = 0
        self._now = _Window(reference)
        self._before: _Window | None = None
        self._lasting: dict[str, DriftWarning] = {}

    def add(self, decision: str, confidence: float, statistics: Sequence[float]) -> list[DriftWarning]:
        """Takes an answer; returns what begins to differ with it. statistics: in the order of STATISTICS."""
        now, reference = self._now, self._reference
        self._answers += 1
        now.images += 1
        values = compared(statistics, confidence)
        for counts, one, value in zip(now.bins, reference.distributions.values(), values, strict=True):
            counts[one.bin(value)] += 1
        if decision in now.decisions:
            now.decisions[decision] += 1
        if now.images < self._size:
            return []
        both = self._before.plus(now, reference) if self._before else None
        self._before, self._now = now, _Window(reference)
        return self._compare([now] if both is None else [now, both])

    def state(self) -> DriftState:
        """How many answers, and which warnings last."""
        return DriftState(self._answers, self._size, tuple(self._lasting.values()))

    def _compare(self, windows: list[_Window]) -> list[DriftWarning]:
        found: dict[str, DriftWarning] = {}  # by statistic, that with the smaller p value
        for window in windows:
            for one in self._differences(window):
                if one.statistic not in found or one.p < found[one.statistic].p:
                    found[one.statistic] = one
        for name in [name for name in self._lasting if found[name].p > _OVER]:
            del self._lasting[name]
        new = [one for name, one in found.items() if one.p <= self._limit and name not in self._lasting]
        self._lasting |= {one.statistic: one for one in new}
        return new

    def _differences(self, window: _Window) -> list[DriftWarning]:
        """Each statistic of a window, whether it differs or not."""
        reference, said = self._reference, []
        for (name, one), counts in zip(reference.distributions.items(), window.bins, strict=True):
            p, direction = kolmogorov_smirnov(one.outer_counts, counts)
            said.append(self._said(window, name, _WORDS[name], psi(*_merged(one, counts)), p, direction))
        if reference.decisions:
            index = psi([*reference.decisions.values()], [*window.decisions.values()])
            for name, count in reference.decisions.items():
                p = fisher(count, reference.images, window.decisions[name], window.images)
                more = window.decisions[name] * reference.images > count * window.images
                share = "refer rate" if name == REFER else f"share of {name}"
                corrected = min(1.0, p * len(reference.decisions))
                said.append(self._said(window, share, share, index, corrected, "higher" if more else "lower"))
        return said

    def _said(self, window: _Window, name: str, words: str, index: float, p: float, direction: Direction) -> DriftWarning:
        first = self._answers - window.images + 1
        differs = "otherwise distributed" if direction == "other" else direction
        message = (
            f"{words} ({name})" if words != name else name
        ) + f" of answers {first} to {self._answers} is {differs} than in the bundle's reference"
        measured = f"population stability index {index:.2f}, p = {p:.0e}"
        return DriftWarning(first, self._answers, name, index, p, direction, f"{message} ({measured})")


def kolmogorov_smirnov(reference: Sequence[int], window: Sequence[int]) -> tuple[float, Direction]:
    """Two samples, counted in the same bins -> p value, and in which direction the window lies.

    The bound 2 exp(-2 D^2 n m / (n + m)) (Wei & Dudley, Statistics & Probability Letters 82 (2012) 636-644). D is the largest
    distance at a bin's edge, so at most that of the samples themselves: bins make the test more cautious.
    """
    n, m = sum(reference), sum(window)
    below_n = below_m = 0
    distance = lean = 0.0  # lean: probability that an image of the window has the larger value, less that of the smaller
    for in_n, in_m in zip(reference, window, strict=True):
        lean += in_m / m * (2 * below_n + in_n) / n
        below_n, below_m = below_n + in_n, below_m + in_m
        distance = max(distance, abs(below_n / n - below_m / m))
    lean -= 1
    direction: Direction = "other" if abs(lean) < distance / 2 else "higher" if lean > 0 else "lower"
    return min(1.0, 2 * math.exp(-2 * distance**2 * n * m / (n + m))), direction


def fisher(of_n: int, n: int, of_m: int, m: int) -> float:
    """Fisher's exact test of two shares, of_n / n and of_m / m: twice the smaller tail of the hypergeometric distribution."""
    total = of_n + of_m
    least, most = max(0, total - n), min(total, m)

    def tail(counts: range) -> float:
        return math.fsum(math.exp(_log_choose(m, k) + _log_choose(n, total - k) - _log_choose(n + m, total)) for k in counts)

    return min(1.0, 2 * min(tail(range(least, of_m + 1)), tail(range(of_m, most + 1))))


def psi(reference: Sequence[int], window: Sequence[int]) -> float:
    """Population stability index: the sum over bins of (q - p) ln(q / p), p and q being the shares of images."""
    n, m = (sum(counts) + _HALF * len(counts) for counts in (reference, window))
    shares = [((a + _HALF) / n, (b + _HALF) / m) for a, b in zip(reference, window, strict=True)]
    return math.fsum((q - p) * math.log(q / p) for p, q in shares)


def _merged(reference: Distribution, window: Sequence[int]) -> tuple[list[int], list[int]]:
    """The counts in about _PSI_BINS bins, and the two outer ones."""
    enough = sum(reference.counts) / _PSI_BINS
    of_reference, of_window = [0, 0], [window[0], 0]
    for a, b in zip(reference.counts, window[1:-1], strict=True):
        if of_reference[-1] >= enough:
            of_reference.append(0)
            of_window.append(0)
        of_reference[-1] += a
        of_window[-1] += b
    return [*of_reference, 0], [*of_window, window[-1]]


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
