"""The tiles of a picture in its line. Without numpy, as the process that keeps the store."""

import sys
from array import array
from typing import Literal

from msgspec import Struct

from limiar.edge_app.answer import NOT_ASSESSED, SCORE_ONE, TileMap

_DIGITS = 4  # of a score: more would be noise, and 3,600 of them are in a line


class TilesLine(Struct, frozen=True, omit_defaults=True):
    """How a picture was cut into tiles. As JSON, a key that is None is left out."""

    size: int  # px of the picture, both ways
    stride: int
    rows: int
    columns: int
    first: tuple[int, int]  # y, x of the first tile's top left corner
    sought: str  # the label that scores and peaks are of
    assessed: int  # tiles
    outside: int  # of them, unlike the training images
    path: Literal["tiles", "convolution"]  # how they were answered
    scores: list[list[float | None]] | None = None  # [rows][columns], 0..1; None: not assessed


def tiles_line(tiles: TileMap, scores: bool = False) -> TilesLine:
    """scores: with those of all tiles."""
    return TilesLine(
        size=tiles.size,
        stride=tiles.stride,
        rows=tiles.rows,
        columns=tiles.columns,
        first=tiles.first,
        sought=tiles.sought,
        assessed=tiles.assessed,
        outside=tiles.outside,
        path=tiles.path,
        scores=_rows(tiles) if scores else None,
    )


def _rows(tiles: TileMap) -> list[list[float | None]]:
    stored = array("H", tiles.scores)
    if sys.byteorder == "big":
        stored.byteswap()
    shown = [None if part == NOT_ASSESSED else round(part / SCORE_ONE, _DIGITS) for part in stored]
    return [shown[start : start + tiles.columns] for start in range(0, len(shown), tiles.columns)]
