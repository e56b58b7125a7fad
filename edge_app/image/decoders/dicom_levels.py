"""Values of a DICOM file -> levels of 0..255, exactly: rule `dicom-v1`.

A stored value becomes a modality value (Hounsfield units in CT) by RescaleSlope and RescaleIntercept or by a table; a window
of centre c and width w makes that a level (PS3.3, C.11.2.1.2.1), rounded to the nearest, a half upwards:

    x <= c - 1/2 - (w - 1)/2: 0        x > c - 1/2 + (w - 1)/2: 255        between: ((x - (c - 1/2)) / (w - 1) + 1/2) * 255

The function only grows, so it is kept as the 255 smallest modality values of the levels 1 to 255: fractions, never floats.
"""

import math
from fractions import Fraction
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels

Values = NDArray[np.int64]  # [2 ** bits stored], the stored values or what they become
_HALF = Fraction(1, 2)
_FAR = 1 << 40  # beyond any stored value, and any value of a table


class Window(msgspec.Struct, frozen=True):
    """A window, in modality units."""

    centre: Fraction
    width: Fraction  # >= 1; of an exact one > 0
    exact: bool = False  # LINEAR_EXACT, PS3.3, C.11.2.1.3.2: from c - w/2 to c + w/2

    def least(self) -> tuple[list[Fraction], bool]:
        """The value from which on each level 1..255 is reached; and whether it must be more than that."""
        if not self.exact and self.width == 1:  # one step
            return [self.centre - _HALF] * 255, True
        width = self.width if self.exact else self.width - 1
        low = self.centre - width / 2 - (0 if self.exact else _HALF)
        return [low + width * (level - _HALF) / 255 for level in range(1, 256)], False


@lru_cache(maxsize=64)
def levels(stored: range, slope: Fraction, intercept: Fraction, window: Window) -> Pixels:
    """uint8 [len(stored)]: the level of each stored value v, whose modality value is slope * v + intercept. slope: not 0."""
    least, strict = window.least()
    if slope > 0:
        limits = _upwards([(value - intercept) / slope for value in least], strict)
        return np.searchsorted(limits, _values(stored), side="right").astype(np.uint8)
    limits = _upwards([(value - intercept) / -slope for value in least], strict)  # of the mirrored values
    return np.searchsorted(limits, -_values(stored), side="right").astype(np.uint8)


def levels_of(modality: Values, window: Window) -> Pixels:
    """The same for modality values that a table gave."""
    return np.searchsorted(_upwards(*window.least()), modality, side="right").astype(np.uint8)


def _upwards(least: list[Fraction], strict: bool) -> Values:
    """The smallest whole numbers that are at least, or strictly more than, each of these."""
    whole = (math.floor(value) + 1 if strict else math.ceil(value) for value in least)
    return np.array([max(-_FAR, min(value, _FAR)) for value in whole], np.int64)


def _values(stored: range) -> Values:
    return np.arange(stored.start, stored.stop, dtype=np.int64)


def in_8_bits(values: Values, bits: int) -> Pixels:
    """Values of 0 .. 2 ** bits - 1 -> levels: value * 255 / (2 ** bits - 1), rounded to the nearest."""
    most = (1 << bits) - 1
    return ((np.clip(values, 0, most) * 255 + most // 2) // most).astype(np.uint8)
