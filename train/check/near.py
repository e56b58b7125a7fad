"""Near duplicates among many images: candidates by perceptual hash, each then looked at.

All pairs of hashes that differ in up to 7 of their 64 bits agree in at least one byte (eight bytes, seven differences), so
only images that share a byte are compared, whole blocks at a time.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.train.check.features import THUMBNAIL, TURNS, turned

# When 200 phantoms and 200 CT patches were saved again as JPEG (quality 50), at another size, brighter, noisier, turned or
# mirrored, 99 % stayed within both limits; no pair of 1,500 phantoms was within them. A shift of two pixels is not found.
DISTANCE = 7  # bits
CORRELATION = 0.98  # of the thumbnails
_BLOCK = 1 << 22  # comparisons at a time
_BYTES = 8


def near_pairs(
    hashes: NDArray[np.uint64], thumbnails: Pixels, tick: Callable[[int, int], None]
) -> list[tuple[int, int, float]]:
    """(row, later row, correlation of their thumbnails) of all that show the same picture, turned or mirrored or not.

    hashes: [N, 8] from features.perceptual_hashes; thumbnails: uint8 [N, 16, 16]. tick: (rounds done, in all).
    """
    plain = np.ascontiguousarray(hashes[:, 0])
    found: dict[tuple[int, int], float] = {}
    for turn in range(TURNS):
        other = np.ascontiguousarray(hashes[:, turn])
        for byte in range(_BYTES):
            tick(turn * _BYTES + byte + 1, TURNS * _BYTES)
            for first, second in _candidates(plain, other, byte):
                alike = _correlation(turned(thumbnails[second], turn), thumbnails[first])
                for at in np.flatnonzero(alike >= CORRELATION):
                    pair = int(first[at]), int(second[at])
                    found[pair] = max(found.get(pair, 0.0), float(alike[at]))
    return [(*pair, found[pair]) for pair in sorted(found)]


def _candidates(
    plain: NDArray[np.uint64], other: NDArray[np.uint64], byte: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(rows, later rows) whose hashes agree in this byte, in none before it, and differ in up to DISTANCE bits."""
    ours, theirs = (column.view(np.uint8).reshape(-1, _BYTES)[:, byte] for column in (plain, other))
    order = np.argsort(theirs, kind="stable")
    starts = np.searchsorted(theirs[order], np.arange(257))
    for value in map(int, np.unique(ours)):
        rows, partners = np.flatnonzero(ours == value), order[starts[value] : starts[value + 1]]
        if not len(partners):
            continue
        step = max(1, _BLOCK // len(partners))
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            apart = plain[block][:, None] ^ other[partners][None, :]
            at, with_ = np.nonzero((np.bitwise_count(apart) <= DISTANCE) & (block[:, None] < partners[None, :]))
            earlier = apart[at, with_].view(np.uint8).reshape(-1, _BYTES)[:, :byte]
            new = (earlier != 0).all(axis=1)
            if new.any():
                yield block[at[new]], partners[with_[new]]


def _correlation(one: Pixels, other: Pixels) -> NDArray[np.float64]:
    """Pearson's, of each image with its partner, over all pixels: [N, 16, 16] twice -> [N]."""
    a, b = (images.reshape(len(images), THUMBNAIL * THUMBNAIL).astype(np.float32) for images in (one, other))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    scale = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / np.maximum(scale, 1e-6), dtype=np.float64)
