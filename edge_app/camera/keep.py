"""A frame as a file. Imported only in the process that answers."""

import errno
import hashlib
from pathlib import Path

import cv2

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.camera.messages import KeptFrame
from limiar.edge_app.output.files import writable
from limiar.edge_app.system.files import sync_directory, write_new

_MODE = 0o640  # pictures may be of people
_ALIKE = 100  # files of one name, at most: a clock that starts at 1970 after each power cut names frames alike
# OpenCV's own settings. PNG: run lengths, which for a sensor's noise are smaller and five times as fast as zlib's level 9
# (1.6 MB in 17 ms for 1280x720 pixels on x86-64). JPEG: quality 95.
_SUFFIXES = {"png": ".png", "jpeg": ".jpg"}


def keep(pixels: Pixels, folder: Path, stem: str, form: str) -> KeptFrame:
    """Writes uint8 [H, W, 3], RGB, whole and on the disk, as `folder/stem.png` or `.jpg`; no file is replaced.

    form: "png", whose pixels are exactly these, or "jpeg". Raises OutputError.
    """
    suffix = _SUFFIXES[form]
    data = cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()
    with writable(folder):
        if not folder.is_dir():
            folder.mkdir(parents=True)
            sync_directory(folder.parent)
        for number in range(1, _ALIKE):
            name = f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}"
            try:
                write_new(folder / name, data, _MODE)
            except FileExistsError:
                continue
            return KeptFrame(name, hashlib.sha256(data).digest(), len(data))
        raise FileExistsError(errno.EEXIST, f"{_ALIKE} frames named {stem}", str(folder))
