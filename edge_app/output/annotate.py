"""A picture of each image or frame, enlarged, with its answer written below; by tiles, with its peaks or the whole map."""

import os
from pathlib import Path

from limiar.edge_app.answer import Answer
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.image.draw import enlarged, png
from limiar.edge_app.image.tile_map import map_png, peaks_png
from limiar.edge_app.output.files import writable
from limiar.edge_app.system.files import write_whole


def annotate(pixels: Pixels, answer: Answer, path: bytes, sha256: bytes, folder: Path) -> None:
    """Writes `folder/NAME-SHA256.png`. Raises OutputError."""
    draw_answer(pixels, answer, folder / _name(answer, path, sha256))


def draw_map(pixels: Pixels, answer: Answer, path: bytes, sha256: bytes, folder: Path) -> None:
    """Writes the map of an answer by tiles as `folder/NAME-SHA256.png`. Raises OutputError."""
    _write(folder / _name(answer, path, sha256), map_png(pixels, answer))


def draw_answer(pixels: Pixels, answer: Answer, target: Path) -> None:
    """Writes an image with its answer at `target`, as PNG. Raises OutputError."""
    _write(target, peaks_png(pixels, answer) if answer.tiles else png(enlarged(pixels), answer))


def _name(answer: Answer, path: bytes, sha256: bytes) -> str:
    """8 digits of the hash tell images of one name apart; a number, the pictures of one file."""
    stem = os.path.splitext(os.path.basename(path))[0][:200]  # a name may have 255 bytes
    frame = "" if answer.frame is None else f"-{answer.frame}"
    return os.fsdecode(stem + f"-{sha256.hex()[:8]}{frame}.png".encode())


def _write(target: Path, png: bytes) -> None:
    with writable(target):
        write_whole(target, png, durable=False)
