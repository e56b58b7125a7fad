"""The process that decodes pictures and runs models for the page, which notices nothing of what an image does to it."""

import contextlib
import io
import os
import resource
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from PIL import Image

from limiar.edge_app.answer import Peak, TileMap
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.errors import BundleError, LimiarError
from limiar.edge_app.image.read import Picture, decode
from limiar.edge_app.page.drawing import DRAW, Draw, Drawn, Model
from limiar.edge_app.results.picture_file import matching
from limiar.edge_app.system.channel import WorkerEnd

if TYPE_CHECKING:
    from limiar.edge_app.inference.classifier import Classifier
    from limiar.edge_app.inference.session import Session

_MEMORY = 1 << 30  # bytes of data: a picture of 50 megapixels takes 0.3 GiB
_NICE = 10  # answers come first
_SIDES_PX = {"thumb": 160, "full": 1200}  # of the longer side, at most
_ENLARGED_PX = 640  # up to which a small one is enlarged: a live view draws them all the time
_BAND_PX = 512  # rows that are made smaller at a time: a large picture does not fit in memory twice


def main(end: WorkerEnd) -> None:
    """Draws until the page closes its end."""
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")  # before any other process, if memory runs out
    while True:
        try:
            asked = DRAW.decode(end.receive())
            end.send(msgspec.msgpack.encode(_drawn(asked)))
        except (EOFError, BrokenPipeError):
            return


def _drawn(asked: Draw) -> Drawn:
    try:
        content = matching(map(Path, map(os.fsdecode, asked.places)), asked.sha256)
        if content is None:
            return Drawn(b"", "E-IMAGE-MISSING")
        if asked.model:
            return Drawn(_png(_map(content, asked.model)))
        picture = decode(content, spec=asked.spec, frame=asked.frame)
        if asked.tiles:
            return Drawn(_png(_tile_map(picture, asked.tiles, asked.peaks)))
        return Drawn(_png(_shown(picture, _SIDES_PX[asked.kind])))
    except LimiarError as error:
        return Drawn(b"", error.code)
    except MemoryError:
        return Drawn(b"", "E-IMAGE-MEMORY")
    except OSError:  # the disk
        return Drawn(b"", "E-IMAGE-READ")


def _shown(picture: Picture, most_px: int) -> Image.Image:
    """A small picture is enlarged by a whole factor, each pixel to a square: a browser would blur it."""
    height, width = picture.shape[:2]
    longest = max(height, width)
    if longest <= most_px:
        image = Image.fromarray(picture[:height])
        factor = max(1, min(most_px, _ENLARGED_PX) // longest)
        return image.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    size = max(1, round(width * most_px / longest)), max(1, round(height * most_px / longest))
    return _reduced(picture, longest // most_px).resize(size, Image.Resampling.BOX)


def _reduced(picture: Picture, factor: int) -> Image.Image:
    """Each square of so many pixels as their mean."""
    height = picture.shape[0]
    rows = factor * max(1, _BAND_PX // factor)
    bands = [Image.fromarray(picture[top : top + rows]).reduce(factor) for top in range(0, height, rows)]
    whole = Image.new(bands[0].mode, (bands[0].width, sum(band.height for band in bands)))
    for number, band in enumerate(bands):
        whole.paste(band, (0, number * bands[0].height))
    return whole


def _tile_map(picture: Picture, tiles: TileMap, peaks: tuple[Peak, ...]) -> Image.Image:
    from limiar.edge_app.image.scores import scores_of
    from limiar.edge_app.image.tile_map import mark, with_map

    shown = _shown(picture, _SIDES_PX["full"]).convert("RGB")
    over = Image.fromarray(with_map(shown, picture.shape, tiles, scores_of(tiles)))
    mark(over, picture.shape, tiles.size, peaks)
    return over


def _map(content: bytes, model: Model) -> Image.Image:
    from limiar.edge_app.inference.explain import explained_picture  # only maps need a runtime: 20 MB

    session, classifier = _loaded(model.folder, model.sha256, model.file, model.runtime)
    return Image.fromarray(explained_picture(session, classifier, content, model.label))


@lru_cache(1)
def _loaded(folder: str, sha256: str, file: str, runtime: str) -> "tuple[Session, Classifier]":
    """Without a trial: this is the process that may be lost."""
    from limiar.edge_app.inference.classifier import load
    from limiar.edge_app.inference.session import open_session

    session = open_session(folder, file=file, runtime=runtime, outside="ignore")
    if session.bundle.sha256 != sha256:
        raise BundleError("E-BUNDLE-HASH", f"another bundle is in {folder} now: try again")
    return session, load(session.model)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    if image.mode == "RGB" and _is_grey(np.asarray(image)):
        image = image.convert("L")  # a third of the bytes
    image.save(file, "PNG", compress_level=4)
    return file.getvalue()


def _is_grey(pixels: Pixels) -> bool:
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all())
