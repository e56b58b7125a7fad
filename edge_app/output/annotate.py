"""An image, enlarged, with its answer written on it: green when decided, red when referred, as the course did."""

import os
from pathlib import Path

from limiar.edge_app.answer import Answer
from limiar.edge_app.image.draw import enlarged, png
from limiar.edge_app.image.read import Picture
from limiar.edge_app.output.files import writable
from limiar.edge_app.system.files import write_whole


def annotate(picture: Picture, answer: Answer, path: bytes, sha256: bytes, folder: str) -> None:
    """Writes `folder/NAME-SHA256.png`: the first 8 digits keep images of one name apart. Raises OutputError."""
    stem = os.path.splitext(os.path.basename(path))[0][:200]  # a name may have 255 bytes
    target = Path(folder) / os.fsdecode(stem + b"-" + sha256.hex()[:8].encode() + b".png")
    with writable(target):
        write_whole(target, png(enlarged(picture.pixels()), answer), durable=False)
