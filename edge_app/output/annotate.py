"""A picture of each image or frame, enlarged, with its answer written below."""

import os
from pathlib import Path

from limiar.edge_app.answer import Answer
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.image.draw import enlarged, png
from limiar.edge_app.output.files import writable
from limiar.edge_app.system.files import write_whole


def annotate(pixels: Pixels, answer: Answer, path: bytes, sha256: bytes, folder: Path) -> None:
    """Writes `folder/NAME-SHA256.png`; 8 digits of the hash tell images of one name apart. Raises OutputError."""
    stem = os.path.splitext(os.path.basename(path))[0][:200]  # a name may have 255 bytes
    draw_answer(pixels, answer, folder / os.fsdecode(stem + b"-" + sha256.hex()[:8].encode() + b".png"))


def draw_answer(pixels: Pixels, answer: Answer, target: Path) -> None:
    """Writes an image with its answer at `target`, as PNG. Raises OutputError."""
    with writable(target):
        write_whole(target, png(enlarged(pixels), answer), durable=False)
