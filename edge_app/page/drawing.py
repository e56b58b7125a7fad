"""What the page asks of the process that draws pictures."""

from typing import Literal

import msgspec
from msgspec import Struct

Kind = Literal["thumb", "full", "map"]


class Draw(Struct, frozen=True):
    """Draw a picture."""

    kind: Kind
    content: bytes  # of the image file
    label: str = ""  # this and the next three for a map alone: of which label,
    bundle: str = ""  # and by which bundle's folder,
    file: str = ""  # model file
    runtime: str = ""  # and runtime


class Drawn(Struct, frozen=True):
    """A PNG file."""

    png: bytes
    code: str = ""  # why there is none


DRAW = msgspec.msgpack.Decoder(Draw)
DRAWN = msgspec.msgpack.Decoder(Drawn)
