"""The process that draws slices under their maps: what a file does to a decoder costs one picture."""

import contextlib
import hashlib
import io
import resource

import msgspec
from PIL import Image

from limiar.edge_app.errors import LimiarError
from limiar.edge_app.image.draw import enlarged
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.image.scores import scores_of
from limiar.edge_app.image.tile_map import with_map
from limiar.edge_app.series.drawing import DRAW, Draw, Drawn
from limiar.edge_app.system.channel import WorkerEnd

_MEMORY = 1 << 30  # bytes of data: a picture of 50 megapixels takes 0.3 GiB
_SIDE_PX = 384  # of the longer side: a page with a hundred of them has 3 MB
_CLOSE_PX = 160  # of a part
_QUALITY = 80


def main(end: WorkerEnd) -> None:
    """Draws until the parent closes its end."""
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            end.send(msgspec.msgpack.encode(_drawn(DRAW.decode(end.receive()))))


def _drawn(asked: Draw) -> Drawn:
    try:
        content = read_file(asked.path, asked.follow)
        if hashlib.sha256(content).digest() != asked.sha256:
            return Drawn(b"", code="E-IMAGE-CHANGED")
        picture = decode(content, spec=asked.spec, frame=asked.frame)
    except LimiarError as error:
        return Drawn(b"", code=error.code)
    except MemoryError:
        return Drawn(b"", code="E-IMAGE-MEMORY")
    height, width = picture.shape[:2]
    if asked.box:
        left, top, right, bottom = asked.box
        left, top = min(left, width - 1), min(top, height - 1)  # slices may be shifted against each other
        image = enlarged(picture.pixels()[top : max(bottom, top + 1), left : max(right, left + 1)], _CLOSE_PX)
    else:
        image = enlarged(picture.pixels(), _SIDE_PX)
    if asked.tiles:
        image = Image.fromarray(with_map(image, picture.shape, asked.tiles, scores_of(asked.tiles)))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return Drawn(file.getvalue(), width, height)
