"""The peaks of a map of scores: where what is sought is likeliest, each place once."""

import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.image.scores import Scores
from limiar.edge_app.inference.grid import Grid

MOST = 100  # peaks of a picture
_PARTS = 1 << 20  # of a score, as whole numbers: their sums do not depend on the order of addition


def ranked(scores: Scores, grid: Grid, among: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Row and column of some tiles, the highest score first.

    A quantized model gives many tiles of a plateau the same score: then the one with the highest scores around it comes first,
    which is in the plateau's middle; after that, the first in reading order.
    """
    around = _sums(scores, grid)
    rows, columns = np.nonzero(among)
    order = np.lexsort((columns, rows, -around[rows, columns], -scores[rows, columns]))
    return list(zip(rows[order].tolist(), columns[order].tolist(), strict=True))


def peaks(tiles: list[tuple[int, int]], grid: Grid) -> list[tuple[int, int]]:
    """The peaks among `ranked` tiles, MOST at most.

    Greedy non-maximum suppression: no peak is within half a tile of a stronger one.
    """
    free = np.ones((grid.rows, grid.columns), bool)
    found: list[tuple[int, int]] = []
    for row, column in tiles:
        if free[row, column]:
            found.append((row, column))
            if len(found) == MOST:
                break
            free &= ~_near(grid, row, column)
    return found


def centroid(scores: Scores, grid: Grid, row: int, column: int) -> tuple[float, float]:
    """y and x of a peak in px of the picture, 0 in the middle of its first pixel.

    The mean of the middles of the tiles within half a tile of it, weighted by their scores.
    """
    rows, columns = np.nonzero(_near(grid, row, column) & ~np.isnan(scores))
    weights = scores[rows, columns].tolist()
    total = sum(weights)
    if not total:
        rows, columns, weights, total = np.array([row]), np.array([column]), [1.0], 1.0
    places = [
        first + (grid.size - 1) / 2 + grid.stride * sum(w * at for w, at in zip(weights, ats.tolist(), strict=True)) / total
        for first, ats in zip(grid.first, (rows, columns), strict=True)
    ]
    return places[0], places[1]


def _near(grid: Grid, row: int, column: int) -> NDArray[np.bool_]:
    """[rows, columns]: the tiles whose middles are within half a tile of one."""
    rows, columns = np.ogrid[: grid.rows, : grid.columns]
    near: NDArray[np.bool_] = 4 * grid.stride**2 * ((rows - row) ** 2 + (columns - column) ** 2) <= grid.size**2
    return near


def _sums(scores: Scores, grid: Grid) -> NDArray[np.int64]:
    """[rows, columns]: the sum of the scores in the square of half a tile around each, in parts of a score."""
    reach = grid.size // (2 * grid.stride)
    parts = np.rint(np.nan_to_num(scores) * _PARTS).astype(np.int64)
    for axis in (0, 1):
        side = parts.shape[axis]
        upto = np.insert(parts.cumsum(axis), 0, 0, axis)
        at = np.arange(side)
        parts = upto.take(np.minimum(at + reach + 1, side), axis) - upto.take(np.maximum(at - reach, 0), axis)
    return parts
