"""What the rules need to know of many model inputs at once, each number as for a single one, to the last bit.

Tiles of a grey picture overlap, and most of what is counted in one is counted in its neighbours. So it is counted once in the
rows that a row of tiles lies in: for the 3,600 tiles of a slice that takes a third of the time.
"""

import math
from typing import NamedTuple

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import GREY, Assessable, Assessed, Envelope
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.resize import BRIGHT, DARK, Whole, assessable, check_assessable
from limiar.edge_app.image.statistics import NOISE_OF, POWERS, TAIL, noise, noise_response, statistics

BAND_SIDE_PX = 1024  # of a tile, at most: beyond it the sums of squares, times the pixels, do not fit into 64 bits

Mask = NDArray[np.bool_]  # [N]


class Measured(NamedTuple):
    """Of N model inputs."""

    shows: Mask  # whether check_assessable lets it pass
    values: dict[Assessed, NDArray[np.float64]]  # each [N]; empty if they were not asked for


def of_inputs(tensors: Pixels, side_px: int, *, measure: bool, noisy: bool) -> Measured:
    """Of uint8 [N, H, W, C], one by one. side_px: of the pictures that they are of.

    measure: with the statistics; noisy: with the noise.
    """
    shows = np.array([_shows(tensor[None], side_px) for tensor in tensors])
    found = [statistics(tensor[None]) for tensor in tensors] if measure else []
    values: dict[Assessed, NDArray[np.float64]] = {}
    if found:
        values = {name: np.array([one[name] for one in found]) for name in found[0]}  # type: ignore[misc]  # all are Statistic
    if noisy:
        values["noise"] = np.array([noise(tensor[None]) for tensor in tensors])
    return Measured(shows, values)


def of_band(band: Pixels, first: int, stride: int, count: int, *, measure: bool, noisy: bool) -> Measured:
    """Of `count` squares that are as high as a grey band, uint8 [side, W]: the first begins at column `first`.

    The side is from SIDE_MIN_PX to BAND_SIDE_PX.
    """
    side = len(band)
    size = side * side
    starts = first + stride * np.arange(count)
    levels = _levels(band, starts, stride)
    upto = levels.cumsum(axis=1)
    there = levels > 0
    low, high = there.argmax(axis=1), 255 - there[:, ::-1].argmax(axis=1)
    shows = assessable(low, high, upto[:, DARK], size - upto[:, BRIGHT - 1], size)
    if not measure:
        return Measured(shows, {})
    mean, deviation = _moments(size, *(levels @ POWERS).T)
    tail = max(1, math.ceil(TAIL * size))
    values: dict[Assessed, NDArray[np.float64]] = {
        "mean": mean,
        "deviation": deviation,
        "low": (upto >= tail).argmax(axis=1).astype(np.float64),
        "high": (upto >= size - tail + 1).argmax(axis=1).astype(np.float64),
        "sharpness": np.array([edges**2 for edges in _moments(size, *_edges(band, starts))[1].tolist()]),  # as Python squares
        "clipped": (levels[:, 0] + levels[:, 255]) / size,
        "colour": np.zeros(count),
    }
    if noisy:
        response = _between(noise_response(band).sum(axis=0, dtype=np.int64), starts, side - 2)
        values["noise"] = NOISE_OF * response / (side - 2) ** 2
    return Measured(shows, values)


def outside_of(envelope: Envelope, values: dict[Assessed, NDArray[np.float64]]) -> Mask:
    """Which are outside an envelope in any statistic, as `statistics.outside`."""
    found = np.zeros(len(values["mean"]), bool)
    for name, range in envelope.ranges.items():
        value = values[name]
        bad = ~((range.low <= value) & (value <= range.high))
        if name == "colour":
            seen = np.maximum(value, GREY)
            bad &= ~((max(range.low, GREY) <= seen) & (seen <= max(range.high, GREY)))
        found |= bad
    return found


def within(limits: Assessable, values: dict[Assessed, NDArray[np.float64]]) -> Mask:
    """Which keep a bundle's limits, as `check_limits`."""
    kept = np.ones(len(values["mean"]), bool)
    for name, limit in limits.limits.items():
        if limit.at_least is not UNSET:
            kept &= ~(values[name] < limit.at_least)
        if limit.at_most is not UNSET:
            kept &= ~(values[name] > limit.at_most)
    return kept


def _shows(tensor: Pixels, side_px: int) -> bool:
    try:
        check_assessable(np.empty((side_px, side_px), np.uint8), tensor)
    except ImageError:
        return False
    return True


def _moments(size: int, total: Whole, squares: Whole) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and standard deviations from integer sums."""
    return total / size, np.sqrt((size * squares - total * total).astype(np.float64)) / size


def _levels(band: Pixels, starts: Whole, stride: int) -> Whole:
    """[N, 256]: how often each level occurs in each square. Counted in strips of which both squares and strides are made."""
    side = len(band)
    strip = math.gcd(side, stride)
    used = band[:, starts[0] : starts[-1] + side]
    strips = used.shape[1] // strip
    numbered = used.astype(np.intp) * strips + np.arange(used.shape[1]) // strip
    counts = np.bincount(numbered.ravel(), minlength=256 * strips).reshape(256, strips)
    return np.ascontiguousarray(_between(counts, (starts - starts[0]) // strip, side // strip).T)


def _edges(band: Pixels, starts: Whole) -> tuple[Whole, Whole]:
    """The sums over each square of cv2.Laplacian and of its squares: it mirrors what is beyond a square's border."""
    side = len(band)
    levels = band.astype(np.int16)
    above, below = np.concatenate([levels[1:2], levels[:-1]]), np.concatenate([levels[1:], levels[-2:-1]])
    upright = above + below - 4 * levels
    inner = upright[:, 1:-1] + levels[:, :-2] + levels[:, 2:]
    ends = starts + side - 1
    rims = (upright[:, starts] + 2 * levels[:, starts + 1], upright[:, ends] + 2 * levels[:, ends - 1])
    total = _between(inner.sum(axis=0, dtype=np.int64), starts, side - 2)
    squares = _between(_squared(inner), starts, side - 2)
    for rim in rims:
        total = total + rim.sum(axis=0, dtype=np.int64)
        squares = squares + _squared(rim)
    return total, squares


def _squared(values: NDArray[np.int16]) -> Whole:
    """[H, W] -> [W]: the sums of squares."""
    return np.asarray(np.square(values, dtype=np.int32).sum(axis=0, dtype=np.int64))


def _between(sums: Whole, starts: Whole, count: int) -> Whole:
    """The sum of `count` columns, or strips, from each start on: [..., W] -> [..., N]."""
    upto = np.concatenate([np.zeros_like(sums[..., :1]), sums.cumsum(axis=-1)], axis=-1)
    return np.asarray(upto[..., starts + count] - upto[..., starts])
