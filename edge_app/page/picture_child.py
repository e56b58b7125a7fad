"""The process that decodes pictures and runs models for the page, which notices nothing of what an image does to it."""

import io
import resource
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from PIL import Image

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.image.read import decode
from limiar.edge_app.page.drawing import DRAW, Draw, Drawn
from limiar.edge_app.system.channel import WorkerEnd

if TYPE_CHECKING:
    from limiar.edge_app.inference.classifier import Classifier
    from limiar.edge_app.inference.session import Session

_MEMORY = 3 << 30  # bytes of addresses: a picture of 50 megapixels takes 0.5 GiB, and a runtime reserves 1
_SIDES_PX = {"thumb": 160, "full": 1200}  # of the longer side, at most
_MODELS = 2


def main(end: WorkerEnd) -> None:
    """Draws until the page closes its end."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            asked = DRAW.decode(end.receive())
            end.send(msgspec.msgpack.encode(_drawn(asked)))
        except (EOFError, BrokenPipeError):
            return


def _drawn(asked: Draw) -> Drawn:
    try:
        return Drawn(_png(_map(asked) if asked.kind == "map" else _shown(asked)))
    except LimiarError as error:
        return Drawn(b"", error.code)
    except MemoryError:
        return Drawn(b"", "E-IMAGE-MEMORY")


def _shown(asked: Draw) -> Image.Image:
    """A small picture is enlarged by a whole factor, each pixel to a square: a browser would blur it."""
    image = Image.fromarray(decode(asked.content).pixels())
    longest, most = max(image.size), _SIDES_PX[asked.kind]
    if longest > most:
        width, height = (max(1, round(side * most / longest)) for side in image.size)
        return image.resize((width, height), Image.Resampling.BOX, reducing_gap=2.0)
    factor = most // longest
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _map(asked: Draw) -> Image.Image:
    from limiar.edge_app.inference.explain import explained_picture

    session, classifier = _model(asked.bundle, asked.file, asked.runtime)
    return Image.fromarray(explained_picture(session, classifier, asked.content, asked.label))


@lru_cache(_MODELS)
def _model(bundle: str, file: str, runtime: str) -> "tuple[Session, Classifier]":
    from limiar.edge_app.inference.session import open_session  # only maps need a runtime: 20 MB

    session = open_session(bundle, file=file, runtime=runtime, outside="ignore")
    return session, session.load()[0]


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    if _is_grey(np.asarray(image)):
        image = image.convert("L")  # a third of the bytes
    image.save(file, "PNG", compress_level=4)
    return file.getvalue()


def _is_grey(pixels: Pixels) -> bool:
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all())
