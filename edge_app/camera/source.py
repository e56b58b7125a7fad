"""Where images come from: files here, cameras in a child process.

`find_source` reads what a person writes; `open_source` imports OpenCV or picamera2, and only the one that is needed.
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

    live: bool  # a camera: None means that there is nothing yet. Else a file: None is its end

    @property
    def place(self) -> "Place | None":
        """Where in a video file the frame lies that was read last; None for a camera."""

    @property
    def doubtful(self) -> bool | None:
        """Was the last frame decoded beside damage, or does it build on one that is missing? None where nobody can tell."""

    @property
    def loss(self) -> str | None:
        """What of a video file could not be read, in words, once its end is reached."""

    @property
    def note(self) -> str | None:
        """What a person should know: what a camera gives other than it was asked for; at its end, what is odd about a video."""

    def read(self) -> "Pixels | None":
        """The next frame, uint8 [H, W, 3], RGB, in an array of its own. May block. Raises whatever the camera stack raises."""

    def close(self) -> None:
        """Frees the camera."""


class Settings(Struct, frozen=True):
    """What a camera is asked for. It may give something else, and then says so in its `note`."""

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
    """Opens a source; `realtime` lets a video file play at its own rate. Raises SourceError."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # read at its import; its warnings come on top of our line and say less
    try:
        module = importlib.import_module(_MODULES[address.kind])
    except ModuleNotFoundError as error:
        cure = _INSTALL.get(str(error.name), f"install {error.name}")
        raise SourceError("E-SOURCE-MISSING", f"{address.name} needs {error.name}: {cure}") from None
    source: Source = module.open_source(address, realtime, settings)
    return source
