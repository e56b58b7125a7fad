"""The slices of one series in the order in which they lie in the body. Without numpy, as all that keeps the store.

Neither file names nor instance numbers say it: a series may be numbered from the head or the feet, and copied under any names.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from msgspec import Struct

from limiar.edge_app.answer import SlicePlace
from limiar.edge_app.errors import ImageError
from limiar.edge_app.output.lines import Line

Vector = tuple[float, float, float]  # patient coordinates: to the left, the back, the head; mm, or without a unit

_LEAST_MM = 1e-5  # of a pixel's side: a microscope's has ten times as much; what is less would overflow
_TURNED = 1e-3  # between unit vectors of two slices: 0.06 degrees, more than what decimals of a header are rounded by
_OTHER_SPACING = 1e-3  # of a pixel's side
_SAME_MM = 0.01  # two slices that lie so near lie at the same place
_GAP = 1.5  # of the usual distance between two slices: there, one is missing


class Slice(Struct, frozen=True):
    """An answered slice whose place is known."""

    line: Line
    series: str  # hashed SeriesInstanceUID
    origin: Vector  # the middle of its first pixel, mm
    across: Vector  # unit vector along a row
    down: Vector  # and along a column
    spacing: tuple[float, float]  # between rows, between columns, mm
    along: float  # its place on the normal of its plane, mm

    def at(self, x: float, y: float) -> Vector:
        """The place in the patient of a place in the picture, px; 0, 0 is the middle of its first pixel."""
        right, down = x * self.spacing[1], y * self.spacing[0]
        return _sum(self.origin, _times(self.across, right), _times(self.down, down))

    def pixel(self, place: Vector) -> tuple[float, float]:
        """The place in the picture, x and y in px, that is nearest to a place in the patient."""
        way = _sum(place, _times(self.origin, -1))
        return dot(way, self.across) / self.spacing[1], dot(way, self.down) / self.spacing[0]


class Note(Struct, frozen=True):
    """What a person should know about a study."""

    code: str
    message: str


class Stack(Struct, frozen=True):
    """A series in order."""

    slices: tuple[Slice, ...]
    step: float | None  # mm from slice to slice; None: there is one
    notes: tuple[Note, ...]


def sliced(line: Line) -> Slice:
    """An answered line with its place. Raises ImageError E-SERIES-PLACE: its file does not say it."""
    place = line.dicom
    if place is None:
        raise ImageError("E-SERIES-PLACE", "it is not DICOM: give a picture by itself to `limiar scan`")
    lacking = [name for name, value in _attributes(place).items() if value is None]
    if lacking:
        met = f"it does not say where it lies (no {', '.join(lacking)})"
        raise ImageError("E-SERIES-PLACE", f"{met}: give a picture by itself to `limiar scan`")
    assert place.position_mm
    assert place.across
    assert place.down
    assert place.spacing_mm
    along = dot(place.position_mm, _cross(place.across, place.down))
    return Slice(line, place.series, place.position_mm, place.across, place.down, place.spacing_mm, along)


def _attributes(place: SlicePlace) -> dict[str, object]:
    """By the names that DICOM has for them."""
    return {
        "SeriesInstanceUID": place.series or None,
        "ImagePositionPatient": place.position_mm,
        "ImageOrientationPatient": place.across and place.down,
        "PixelSpacing": place.spacing_mm if min(place.spacing_mm or (0,)) >= _LEAST_MM else None,
    }


def stacked(slices: Sequence[Slice]) -> Stack:
    """The slices of a series, in order along their normal; of an axial one, from the feet to the head.

    Raises ImageError: they are not one stack of parallel slices (E-SERIES-MIXED), or two lie at one place (E-SERIES-TWICE).
    """
    first = slices[0]
    for other in slices:
        if any(math.dist(*pair) > _TURNED for pair in ((first.across, other.across), (first.down, other.down))):
            raise ImageError("E-SERIES-MIXED", "its slices are turned against each other: give the parallel ones alone")
        if any(abs(a - b) > _OTHER_SPACING * a for a, b in zip(first.spacing, other.spacing, strict=True)):
            raise ImageError("E-SERIES-MIXED", "its slices differ in the size of their pixels: give those of one size alone")
    ordered, notes = _without_copies(sorted(slices, key=lambda slice_: (slice_.along, slice_.line.path or "")))
    steps = [two.along - one.along for one, two in pairwise(ordered)]
    step = median(steps) if steps else None
    if step and (gaps := [gap for gap in steps if gap > _GAP * step]):
        missing = sum(round(gap / step) - 1 for gap in gaps)
        met = f"{missing} slices seem to be missing, in {len(gaps)} places" if missing > 1 else "a slice seems to be missing"
        notes.append(Note("E-SERIES-GAP", f"{met}: what lies there was not seen; give all slices of the series"))
    return Stack(tuple(ordered), step, tuple(notes))


def _without_copies(ordered: Sequence[Slice]) -> tuple[list[Slice], list[Note]]:
    """Raises ImageError E-SERIES-TWICE."""
    kept: list[Slice] = []
    copies = 0
    for slice_ in ordered:
        if not kept or slice_.along - kept[-1].along > _SAME_MM:
            kept.append(slice_)
        elif (kept[-1].line.sha256, kept[-1].line.frame) == (slice_.line.sha256, slice_.line.frame):
            copies += 1
        else:
            met = "two of its slices lie at the same place and differ"
            raise ImageError("E-SERIES-TWICE", f"{met}: give one of each, such as those of one phase")
    if not copies:
        return kept, []
    met = f"{copies} {'slice was' if copies == 1 else 'slices were'} given twice"
    return kept, [Note("E-SERIES-COPY", f"{met}: each was taken once")]


def dot(one: Vector, other: Vector) -> float:
    """Of two vectors; of a place and a unit vector: how far along it lies."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def _cross(one: Vector, other: Vector) -> Vector:
    (a, b, c), (x, y, z) = one, other
    return b * z - c * y, c * x - a * z, a * y - b * x


def _times(vector: Vector, factor: float) -> Vector:
    x, y, z = vector
    return x * factor, y * factor, z * factor


def _sum(*vectors: Vector) -> Vector:
    x, y, z = (sum(parts) for parts in zip(*vectors, strict=True))
    return x, y, z
