"""Peaks of neighbouring slices, joined into findings. Without numpy, as all that keeps the store."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product

from msgspec import Struct

from limiar.edge_app.answer import Peak
from limiar.edge_app.series.order import Slice, Stack, Vector, dot

_LEAST = 1e-6  # of a weight: a label can win with a probability of 0, by its threshold
_REACH = 2.5  # steps between slices: a finding may be missed in one of them


class Finding(Struct, frozen=True, omit_defaults=True):
    """One thing that was found, in one slice or several. As JSON, a key that is None is left out."""

    number: int  # from 1; the largest score first
    place_mm: Vector  # patient coordinates: to the left, the back, the head
    slice: int  # the slice nearest to its place, from 1, in the order of the study
    x: float  # px in that slice; 0 in the middle of its first pixel
    y: float
    path: str  # that slice's file
    first_slice: int
    last_slice: int
    peaks: int  # slices between them in which it was found
    score: float  # of its best peak: probability of the sought label, 0..1
    decision: str  # of that peak: a label, or "refer"
    frame: int | None = None  # of that file, from 1; None: it has one


class _Mark(Struct, frozen=True):
    """A peak and its place in the study."""

    slice: int  # from 0
    peak: Peak
    place: Vector
    plane: tuple[float, float]  # along the rows and columns of the slices, mm


def findings(stack: Stack, radius: float) -> tuple[Finding, ...]:
    """The peaks of a series as findings, the largest score first.

    Two peaks are one finding if they are at most `radius` (mm) from each other in the plane, and at most 2.5 steps across it:
    those of a slice and of the next, or the one after it. So are those that a third one joins. A finding's place is the mean of
    its peaks', weighted by their scores.
    """
    marks = [
        _Mark(number, peak, place := slice_.at(peak.x, peak.y), (dot(place, slice_.across), dot(place, slice_.down)))
        for number, slice_ in enumerate(stack.slices)
        for peak in slice_.line.peaks or ()
    ]
    groups = sorted(_joined(stack, marks, radius), key=lambda group: -max(mark.peak.score for mark in group))
    return tuple(_finding(stack.slices, number, group) for number, group in enumerate(groups, start=1))


def _joined(stack: Stack, marks: Sequence[_Mark], radius: float) -> list[list[_Mark]]:
    """By union and find; in cells of `radius`, since a poor model has a hundred peaks in every slice."""
    parents = list(range(len(marks)))

    def root(mark: int) -> int:
        while parents[mark] != mark:
            parents[mark] = mark = parents[parents[mark]]
        return mark

    cells = defaultdict[tuple[int, int, int], list[int]](list)
    for number, mark in enumerate(marks):
        row, column = (math.floor(mm / radius) for mm in mark.plane)
        for other in _before(cells, mark.slice, row, column):
            before = marks[other]
            away = stack.slices[mark.slice].along - stack.slices[before.slice].along
            if away <= _REACH * (stack.step or 0.0) and math.dist(mark.plane, before.plane) <= radius:
                parents[root(number)] = root(other)
        cells[mark.slice, row, column].append(number)
    groups = defaultdict[int, list[_Mark]](list)
    for number, mark in enumerate(marks):
        groups[root(number)].append(mark)
    return list(groups.values())


def _before(cells: dict[tuple[int, int, int], list[int]], slice_: int, row: int, column: int) -> Iterator[int]:
    """Marks that may be near one in this cell: in its slice and those just before."""
    for before, up, left in product(range(math.floor(_REACH) + 1), (-1, 0, 1), (-1, 0, 1)):
        yield from cells.get((slice_ - before, row + up, column + left), ())


def _finding(slices: Sequence[Slice], number: int, group: Sequence[_Mark]) -> Finding:
    best = max(group, key=lambda mark: mark.peak.score).peak
    weights = [max(mark.peak.score, _LEAST) for mark in group]
    x, y, z = (_dot(weights, [mark.place[axis] for mark in group]) / sum(weights) for axis in range(3))
    along = _dot(weights, [slices[mark.slice].along for mark in group]) / sum(weights)
    numbers = {mark.slice for mark in group}
    nearest = min(range(min(numbers), max(numbers) + 1), key=lambda at: abs(slices[at].along - along))
    column, row = slices[nearest].pixel((x, y, z))
    line = slices[nearest].line
    return Finding(
        number=number,
        place_mm=(round(x, 2), round(y, 2), round(z, 2)),
        slice=nearest + 1,
        x=round(column, 1),
        y=round(row, 1),
        path=line.path or "",
        frame=line.frame,
        first_slice=min(numbers) + 1,
        last_slice=max(numbers) + 1,
        peaks=len(numbers),
        score=best.score,
        decision=best.decision,
    )


def _dot(weights: Sequence[float], values: Sequence[float]) -> float:
    return sum(weight * value for weight, value in zip(weights, values, strict=True))
