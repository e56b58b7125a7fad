"""What the page asks of the processes that draw pictures."""

from typing import Literal

import msgspec
from msgspec import Struct

from limiar.edge_app.answer import Peak, TileMap
from limiar.edge_app.bundle.manifest import InputSpec

Kind = Literal["thumb", "full", "map"]


class Model(Struct, frozen=True):
    """Which model file makes a map, and of which label."""

    folder: str  # of the bundle
    sha256: str  # of its manifest
    file: str
    runtime: str
    label: str


class Draw(Struct, frozen=True):
    """Draw a picture."""

    kind: Kind
    places: tuple[bytes, ...]  # paths of files of which one may be it
    sha256: bytes  # of the image file
    spec: InputSpec | None = None  # of its bundle
    model: Model | None = None  # for a map of where an answer comes from
    frame: int = 0  # of a file with several pictures
    tiles: TileMap | None = None  # for a map of tiles, which needs no model
    peaks: tuple[Peak, ...] = ()


class Drawn(Struct, frozen=True):
    """A PNG file."""

    png: bytes
    code: str = ""  # why there is none; E-IMAGE-MISSING: no file has that sha256


DRAW = msgspec.msgpack.Decoder(Draw)
DRAWN = msgspec.msgpack.Decoder(Drawn)
