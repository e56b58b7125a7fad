"""Samples of more than 8 bits -> levels of 0..255, by the range that the file or the bundle declares, never by a guess.

A sample of 0..most becomes (sample * 65535 // most) >> 8: for a full 16-bit range that is sample >> 8, for 8 bits the sample
itself, for 12 bits sample >> 4 to within a level, and `most` always becomes 255.

A 16-bit file that declares no range has 10, 12 or 14 bits as often as 16, depending on the scanner or CT. Read as 16 bits, it
becomes 4, 16 or 64 grey levels, which a model answers as readily as a proper picture. So a file is refused if its values cannot
be a full range, unless the bundle says how far the values of its images reach (`grey_max`). These two rules refuse none of
5,119 CT patches, taken as 16 bits.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.errors import ImageError

FULL = 65_535  # the largest value of 16 bits
_SPAN = 1 << 14  # that the values must reach, without a thousandth at each end: more than 14 bits, often stored in 16
_TAIL = 1000  # one sample in so many may lie outside, at each end: hot pixels
_LEVELS = 32  # of 256, that 99 % of the samples must use: burnt-in text, or HU below 0 stored as 65,000, spans all 16 bits
_LEVELS_SHARE = 0.99
_FINER = 4  # times as many values as levels; with fewer, it is an 8-bit picture stored in 16 bits, which loses nothing

Counts = NDArray[np.int64]  # [65536], how often each value occurs


def count(samples: NDArray[np.unsignedinteger[Any]]) -> Counts:
    """How often each value occurs, [65536]. Give one band of an image at a time: numpy widens the samples to 8 bytes."""
    return np.bincount(samples.ravel(), minlength=FULL + 1)


def levels(
    counts: Counts,
    declared: int | None,
    grey_max: int | UnsetType = UNSET,
    *,
    white_is_zero: bool = False,
    significant: int | None = None,
) -> Pixels:
    """uint8 [65536], the level of each value. declared: the largest value, by the file itself; grey_max: by the bundle.

    counts: all 0 if the bits fix the range, so that no value can be beyond it. significant: the bits that a PNG's sBIT says.

    Raises ImageError: a value is larger than declared, or nothing was declared and the values cannot be the full range.
    """
    largest = int(counts.nonzero()[0].max(initial=0))
    most = declared or FULL
    if most == FULL and grey_max is not UNSET:
        most = grey_max
        if largest > most:
            met = f"its largest value is {largest}, the model was trained with at most {most} (grey_max)"
            raise ImageError("E-IMAGE-DEPTH", f"{met}: save it with that range, or with 8 bits")
    elif most == FULL:
        _check_full(counts, largest, significant)
    if largest > most:
        raise ImageError("E-IMAGE-DEPTH", f"has the value {largest}, but declares at most {most}: write it again")
    table = scale(most)
    # The level of the mirrored value, not 255 less its level: so both ends of a range that is not a power of two stay ends.
    return np.concatenate([table[most::-1], table[most + 1 :]]) if white_is_zero else table


@lru_cache(maxsize=8)
def scale(most: int) -> Pixels:
    """uint8 [65536]: the level of each value of a range that ends at `most`; beyond it 255."""
    values = np.minimum(np.arange(FULL + 1, dtype=np.uint32), np.uint32(most))
    return (values * np.uint32(FULL) // np.uint32(most) >> 8).astype(np.uint8)


def opacity(largest: int, declared: int | None, grey_max: int | UnsetType = UNSET) -> Pixels:
    """uint8 [65536], the level of each alpha value. largest: of those that occur.

    Alpha has the range of the colours, or the full one if a value is beyond that.
    """
    most = declared or (FULL if grey_max is UNSET else grey_max)
    return scale(most if largest <= most else FULL)


def _check_full(counts: Counts, largest: int, significant: int | None) -> None:
    values = np.count_nonzero(counts)
    if values == 1:
        return  # one flat colour is refused as such, whatever its depth
    up_to = counts.cumsum()
    tail = int(up_to[-1]) // _TAIL
    low, high = np.searchsorted(up_to, tail, side="right"), np.searchsorted(up_to, up_to[-1] - tail)
    by_level = counts.reshape(256, 256).sum(axis=1)
    held = np.sort(by_level)[::-1].cumsum()
    used = 1 + int(np.searchsorted(held, _LEVELS_SHARE * held[-1]))
    finer = values >= _FINER * np.count_nonzero(by_level)
    if high - low < _SPAN or (used < _LEVELS and finer):
        met = f"16-bit values that fill {used} of 256 grey levels, the largest {largest}"
        why = "the image's depth is not declared"
        cure = "save it with 8 bits, declare its depth (BitsPerSample, sBIT), or train with --grey-max"
        if significant:
            why = f"the image is very dark, or its depth is not the {significant} bits of its sBIT"
            cure = "save it with 8 bits, or train with --grey-max"
        raise ImageError("E-IMAGE-DEPTH", f"{met}: {why}: {cure}")
