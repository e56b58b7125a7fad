"""Where images come from: files here, cameras in a child process.

`find_source` reads what a person writes; `open_source` imports OpenCV or picamera2, and only the one that is needed.
"""

import importlib
import os
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from msgspec import Struct

from edge_app.errors import SourceError, printable

if TYPE_CHECKING:  # the process that keeps the store finds the source before it loads numpy
    from edge_app.frame import Pixels
    from edge_app.sources.damage import Place


class Source(Protocol):
    """A camera or a video."""

    live: bool  # a camera: None means that there is nothing yet. Else a file: None is its end

    @property
    def place(self) -> "Place | None":
        """Where in a video file the frame lies that was read last; None for a camera."""

    @property
    def loss(self) -> str | None:
        """What of a video file could not be read, in words, once its end is reached."""

    def read(self) -> "Pixels | None":
        """The next frame, uint8 [H, W, 3], RGB, in an array of its own. May block. Raises whatever the camera stack raises."""

    def close(self) -> None:
        """Frees the camera."""


class Address(Struct, frozen=True):
    """Where a source is."""

    kind: str  # a key of _MODULES
    target: str  # a file, a device, a URL or a number
    name: str  # as results and messages call it: without the password of a URL


_MODULES = {
    "video": "edge_app.sources.video",
    "v4l2": "edge_app.sources.opencv",
    "rtsp": "edge_app.sources.opencv",
    "picamera": "edge_app.sources.picamera",
}
_INSTALL = {
    "cv2": "pip install limiar",
    "picamera2": "sudo apt install python3-picamera2, and a venv made with --system-site-packages",
}


def find_source(text: str) -> Address:
    """`video:FILE`, `v4l2:/dev/video0`, `/dev/video0`, `rtsp://…` or `picamera:0` -> where it is. Raises SourceError."""
    if text.lower().startswith(("rtsp:", "rtsps:", "http:", "https:")):
        return _stream(text)
    if text.startswith("/dev/video"):
        text = f"v4l2:{text}"
    kind, _, target = text.partition(":")
    if kind not in ("video", "v4l2", "picamera") or not target or (kind == "picamera" and not target.isdecimal()):
        known = "video:FILE, v4l2:/dev/video0, rtsp://… or picamera:0"
        raise SourceError("E-SOURCE-UNKNOWN", f"{printable(text)} is no source: give {known}")
    return Address(kind, target, printable(text))


def _stream(text: str) -> Address:
    """A user, a password and a query that may hold a token stay out of database, output and messages. Raises SourceError."""
    scheme, _, rest = text.partition(":")
    shown = printable(f"{scheme.lower()}://{rest.rpartition('@')[2].lstrip('/').partition('?')[0]}")
    if not scheme.lower().startswith("rtsp") or not rest.startswith("//"):
        raise SourceError("E-SOURCE-UNKNOWN", f"{shown} is no source: of streams give rtsp://… or rtsps://…")
    try:
        url = urlsplit(text)
    except ValueError:
        url = None
    # After an unquoted # / or ? in a password, what follows would be taken for the path.
    if not url or not url.hostname or "@" in url.path + url.query + url.fragment:
        cure = "write special characters of user and password as %23 for #, %2F for /, %3F for ?, %5B for ["
        raise SourceError("E-SOURCE-UNKNOWN", f"{shown} is no address: {cure}")
    return Address("rtsp", text, printable(f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"))


def open_source(address: Address, realtime: bool = False) -> Source:
    """Opens a source; `realtime` lets a video file play at its own rate. Raises SourceError."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # read at its import; its warnings come on top of our line and say less
    try:
        module = importlib.import_module(_MODULES[address.kind])
    except ModuleNotFoundError as error:
        cure = _INSTALL.get(str(error.name), f"install {error.name}")
        raise SourceError("E-SOURCE-MISSING", f"{address.name} needs {error.name}: {cure}") from None
    source: Source = module.open_source(address, realtime)
    return source
