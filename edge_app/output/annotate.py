"""A picture of each image or frame, enlarged, with its answer written below."""

import os
import re
from pathlib import Path

from limiar.edge_app.answer import Answer
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.image.draw import enlarged, png
from limiar.edge_app.output.files import writable
from limiar.edge_app.output.lines import Line
from limiar.edge_app.system.files import write_whole


def annotate(pixels: Pixels, answer: Answer, path: bytes, sha256: bytes, folder: Path) -> None:
    """Writes `folder/NAME-SHA256.png`: the first 8 digits keep images of one name apart. Raises OutputError."""
    stem = os.path.splitext(os.path.basename(path))[0][:200]  # a name may have 255 bytes
    _write(folder / os.fsdecode(stem + b"-" + sha256.hex()[:8].encode() + b".png"), pixels, answer)


def annotate_frame(pixels: Pixels, answer: Answer, line: Line, folder: Path) -> None:
    """Writes `folder/SOURCE-TIME-SEQUENCE.png`. Raises OutputError."""
    address, taken = line.source or "", re.sub(r"[^0-9TZ]", "", line.taken or "")
    kind, _, rest = address.partition(":")
    name = rest.rpartition("/")[2] if kind in ("video", "v4l2") else address
    source = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[-100:]  # a name may have 255 bytes
    _write(folder / f"{source}-{taken}-{line.sequence:06}.png", pixels, answer)


def _write(target: Path, pixels: Pixels, answer: Answer) -> None:
    with writable(target):
        write_whole(target, png(enlarged(pixels), answer), durable=False)
