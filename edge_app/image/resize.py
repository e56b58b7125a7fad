"""Pixels -> model input: the only resize in the project, rule id `stretch-v1`.

The same bytes give the same tensor on every machine, library version and architecture; tests/edge_app check its sha256.
"""

import hashlib
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ImageError

cv2.setNumThreads(1)  # images are small: OpenCV's thread pool costs more than it gains, and workers share the cores

_WHOLE_BYTES = 16 << 20  # a picture up to this size is converted at once: cutting bands from a Pillow image costs one more copy
_BAND_BYTES = 2 << 20  # at a time, of a larger image; computing the means takes up to ten times as much
SIDE_MIN_PX = 4  # a narrower strip shows nothing once it is stretched to a square
_FLAT_LEVELS = 8  # grey levels between the darkest and the brightest pixel
DARK, BRIGHT = _FLAT_LEVELS, 255 - _FLAT_LEVELS
_EXTREME_SHARE = 0.99  # of the pixels; of 5,119 CT patches the most extreme has 0.61 dark and 0.43 bright ones

Whole = NDArray[np.int64]  # [N]


class Rows(Protocol):
    """A Picture or a numpy array: uint8 rows, [H, W] or [H, W, 3]."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> Pixels: ...


def model_input(picture: Rows, spec: InputSpec) -> Pixels:
    """A picture of any size -> uint8 [1, height, width, channels], C-contiguous, by the rule `stretch-v1`.

    Per axis k = max(1, size // target); the size mod k rows or columns left over are cropped from both ends, an odd one from
    the bottom or right; each k x k box becomes its mean (sum + n // 2) // n; then OpenCV's INTER_LINEAR_EXACT, which is
    integer arithmetic and equal on all its builds. Grey to RGB repeats the value; RGB to grey, after the resize, is ITU-R
    BT.601 (`luma`).
    """
    small: Pixels = _box_mean(picture, spec.height, spec.width)
    if small.shape[:2] != (spec.height, spec.width):
        small = _uint8(cv2.resize(small, (spec.width, spec.height), interpolation=cv2.INTER_LINEAR_EXACT))
    if small.ndim == 2 and spec.channels == 3:
        small = _uint8(cv2.merge((small, small, small)))
    elif small.ndim == 3 and spec.channels == 1:
        small = luma(small)
    return np.ascontiguousarray(small).reshape(1, spec.height, spec.width, spec.channels)


def luma(rgb: Pixels) -> Pixels:
    """uint8 [H, W, 3] -> [H, W], grey by ITU-R BT.601 in 16 bits: (19595 R + 38470 G + 7471 B + 32768) >> 16."""
    return ((rgb.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32) + 32768) >> 16).astype(np.uint8)


def tensor_sha256(tensor: Pixels) -> str:
    """A name for a model input: sha256 over its bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(tensor).tobytes()).hexdigest()


def check_assessable(picture: Rows, tensor: Pixels) -> None:
    """Refuses a picture that shows nothing: a strip, one flat colour, nearly all black or white. Raises ImageError."""
    height, width = picture.shape[:2]
    if min(height, width) < SIDE_MIN_PX:
        raise ImageError("E-IMAGE-THIN", f"{width}x{height} pixels, not assessable: give at least {SIDE_MIN_PX} on each side")
    low, high = map(int, cv2.minMaxLoc(tensor.reshape(-1))[:2])  # takes a quarter of the time of numpy's min and max
    if high - low < _FLAT_LEVELS:
        raise ImageError("E-IMAGE-UNIFORM", f"all pixels are within {low}..{high}, not assessable: check lens, light and file")
    # The counts are only needed if the darkest or brightest pixel is extreme.
    if low <= DARK and np.count_nonzero(tensor <= DARK) >= _EXTREME_SHARE * tensor.size:
        raise ImageError("E-IMAGE-BLACK", "nearly all pixels are black, not assessable: check lens cap, light and exposure")
    if high >= BRIGHT and np.count_nonzero(tensor >= BRIGHT) >= _EXTREME_SHARE * tensor.size:
        raise ImageError("E-IMAGE-SATURATED", "nearly all pixels are white, not assessable: lower light or exposure")


def assessable(low: Whole, high: Whole, dark: Whole, bright: Whole, size: int) -> NDArray[np.bool_]:
    """Which of many tensors of `size` values `check_assessable` lets pass, except for thin ones.

    low, high: the least and the largest value of each; dark, bright: how many are at most DARK, at least BRIGHT.
    """
    return (high - low >= _FLAT_LEVELS) & (dark < _EXTREME_SHARE * size) & (bright < _EXTREME_SHARE * size)


def _uint8(array: NDArray[Any]) -> Pixels:
    """Tells mypy that OpenCV keeps the type, which its stubs do not say."""
    return array


def _box_mean(picture: Rows, height: int, width: int) -> Pixels:
    """Integer mean of k x k boxes: uint8 [H, W(, 3)] -> [H // ky, W // kx(, 3)], a band of rows at a time."""
    rows, columns = picture.shape[:2]
    ky, kx = max(1, rows // height), max(1, columns // width)
    if ky == kx == 1:
        return picture[0:rows]
    top, left = rows % ky // 2, columns % kx // 2
    out_rows, out_columns = rows // ky, columns // kx
    samples = picture.shape[2:]
    row_bytes = columns * (samples[0] if samples else 1)
    if rows * row_bytes <= _WHOLE_BYTES:
        picture = picture[0:rows]
    band = max(1, _BAND_BYTES // (ky * row_bytes))
    means = []
    for first in range(0, out_rows, band):
        count = min(band, out_rows - first)
        pixels = picture[top + first * ky : top + (first + count) * ky][:, left : left + out_columns * kx]
        # Two sums, not one over both axes: numpy adds whole rows quickly, and the second sum sees 1/ky of the data. 16 bits
        # are twice as fast as 32, and hold the sum of 257 rows of 255.
        narrow = np.uint16 if ky <= 257 else np.uint32
        sums = pixels.reshape(count, ky, out_columns * kx, *samples).sum(axis=1, dtype=narrow)
        sums = sums.reshape(count, out_columns, kx, *samples).sum(axis=2, dtype=np.uint32)
        means.append(((sums + ky * kx // 2) // (ky * kx)).astype(np.uint8))
    return np.concatenate(means)
