"""Cameras and videos as sources of frames, opened in the capture process.

`find_source` reads the text that a person gives; `open_source` imports OpenCV or picamera2, whichever is needed.
"""

import importlib
import os
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from limiar.edge_app.camera.address import Address, find_source
from limiar.edge_app.errors import SourceError

__all__ = ["Address", "Settings", "Source", "find_source", "open_source"]

if TYPE_CHECKING:  # the process that keeps the store finds the source before it loads numpy
    from limiar.edge_app.arrays import Pixels
    from limiar.edge_app.camera.damage import Place


class Source(Protocol):
    """A camera or a video."""

    live: bool  # True: a camera, and `read` returns None if there is nothing yet. False: a file, and None is its end

    @property
    def place(self) -> "Place | None":
        """The last frame's place in its video file; None for a camera."""

    @property
    def doubtful(self) -> bool | None:
        """Whether the last frame was decoded near damage, or builds on a missing frame; None: unknown."""

    @property
    def stamp_s(self) -> float | None:
        """When a camera took the last frame, in seconds by a clock of its own; None: it does not say."""

    @property
    def loss(self) -> str | None:
        """At the end of a video file: in words, what could not be read of it."""

    @property
    def note(self) -> str | None:
        """For a person: what a camera gives instead of what it was asked for; at a video's end, what is odd about it."""

    def read(self) -> "Pixels | None":
        """The next frame, uint8 [H, W, 3], RGB, in its own array. May block. Raises whatever the camera stack raises."""

    def close(self) -> None:
        """Frees the camera."""


class Settings(Struct, frozen=True):
    """What a camera is asked for; if it gives something else, its `note` says so."""

    size: tuple[int, int] | None = None  # width and height, in pixels
    rate_hz: float | None = None  # frames a second
    pixel_format: str | None = None  # MJPG or YUYV


_NOTHING = Settings()
_MODULES = {
    "video": "limiar.edge_app.camera.video",
    "v4l2": "limiar.edge_app.camera.opencv",
    "rtsp": "limiar.edge_app.camera.opencv",
    "http": "limiar.edge_app.camera.mjpeg",
    "picamera": "limiar.edge_app.camera.picamera",
}
_INSTALL = {
    "cv2": "pip install limiar",
    "picamera2": "sudo apt install python3-picamera2, and a venv made with --system-site-packages",
}


def open_source(address: Address, realtime: bool = False, settings: Settings = _NOTHING) -> Source:
    """Opens a source; with `realtime`, a video file plays at its own rate. Raises SourceError."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # read when it is imported; its warnings only repeat our messages
    try:
        module = importlib.import_module(_MODULES[address.kind])
    except ModuleNotFoundError as error:
        cure = _INSTALL.get(str(error.name), f"install {error.name}")
        raise SourceError("E-SOURCE-MISSING", f"{address.name} needs {error.name}: {cure}") from None
    source: Source = module.open_source(address, realtime, settings)
    return source
