"""Writes a film that Chromium plays as its camera (--use-file-for-fake-video-capture): YUV4MPEG2, 4:2:0, again and again."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# ITU-R BT.601 in limited range: what RGB adds to luma, blue and red difference.
_LUMA, _BLUE, _RED = (0.257, 0.504, 0.098), (-0.148, -0.291, 0.439), (0.439, -0.368, -0.071)


def write_y4m(path: Path, frames: Iterable[NDArray[np.uint8]], rate_hz: int = 30) -> None:
    """frames: RGB [H, W, 3], H and W even, all alike."""
    with path.open("wb") as film:
        for number, rgb in enumerate(frames):
            if number == 0:
                film.write(f"YUV4MPEG2 W{rgb.shape[1]} H{rgb.shape[0]} F{rate_hz}:1 Ip A1:1 C420jpeg\n".encode())
            luma, blue, red = rgb @ np.array(_LUMA) + 16, rgb @ np.array(_BLUE) + 128, rgb @ np.array(_RED) + 128
            planes = (luma, blue[::2, ::2], red[::2, ::2])
            film.write(b"FRAME\n" + b"".join(np.rint(plane).astype(np.uint8).tobytes() for plane in planes))
