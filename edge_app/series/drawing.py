"""What the page of studies asks of the process that draws its pictures."""

import sys
from array import array

import msgspec
from msgspec import Struct

from limiar.edge_app.answer import NOT_ASSESSED, SCORE_ONE, TileMap
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.output.tile_lines import TilesLine


class Draw(Struct, frozen=True):
    """Draw a slice, whole under its map, or a part of it without."""

    path: bytes
    follow: bool  # read a link to a file
    sha256: bytes  # of the file that was answered
    frame: int  # from 0
    spec: InputSpec
    tiles: TileMap | None  # None: without the map
    box: tuple[int, int, int, int] | None = None  # left, top, right, bottom of the part, px; None: whole


class Drawn(Struct, frozen=True):
    """A JPEG file."""

    jpeg: bytes
    width: int = 0  # of the slice, px
    height: int = 0
    code: str = ""  # why there is none


DRAW = msgspec.msgpack.Decoder(Draw)
DRAWN = msgspec.msgpack.Decoder(Drawn)


def map_of(tiles: TilesLine) -> TileMap:
    """The map of a line that has the scores of its tiles."""
    rows = tiles.scores or []
    parts = array("H", [NOT_ASSESSED if score is None else round(score * SCORE_ONE) for row in rows for score in row])
    if sys.byteorder == "big":
        parts.byteswap()
    return TileMap(
        size=tiles.size,
        stride=tiles.stride,
        rows=tiles.rows,
        columns=tiles.columns,
        first=tiles.first,
        scores=parts.tobytes(),
        sought=tiles.sought,
        assessed=tiles.assessed,
        outside=tiles.outside,
        path=tiles.path,
    )
