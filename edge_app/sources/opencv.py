"""Video files, V4L2 cameras and RTSP streams, through OpenCV. Imported in the capture process alone."""

import math
import os
import time
from collections.abc import Sequence

# AV_LOG_QUIET, before the import: FFmpeg's messages hold the URL with its password.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# Over UDP a lost packet is a torn frame; OpenCV 5 asks for TCP by itself, 4.11 does not.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # its warnings come on top of our own line and say less

import cv2

from edge_app.errors import SourceError
from edge_app.frame import Pixels
from edge_app.sources import Address, Source

_CONNECT_MS = 10_000  # to reach an RTSP camera; OpenCV's own limit is 30 s
_RATE_LIMIT_HZ = 1000.0  # a file that claims more, or nothing, does not know its frame rate


def open_source(address: Address, realtime: bool) -> Source:
    """Raises SourceError where there is no such file or camera."""
    match address.kind:
        case "video":
            return VideoFile(address, realtime)
        case "v4l2":
            return Camera(_opened(address, address.target, cv2.CAP_V4L2))
        case _:
            options = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _CONNECT_MS)
            return Camera(_opened(address, address.target, cv2.CAP_FFMPEG, options))


class Camera:
    """A V4L2 camera or a stream."""

    live = True

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture

    def read(self) -> Pixels | None:
        return _rgb(self._capture)

    def close(self) -> None:
        self._capture.release()


class VideoFile:
    """A video, turned upright as its file says; in real time `read` waits until a frame is due."""

    live = False

    def __init__(self, address: Address, realtime: bool) -> None:
        if not os.path.isfile(address.target):  # FFmpeg would take a URL or a list of files
            raise SourceError("E-SOURCE-OPEN", f"{address.name} is not a file: check the path")
        try:
            address.target.encode()
        except UnicodeEncodeError:  # OpenCV would end the process with a fault
            raise SourceError("E-SOURCE-OPEN", f"{address.name} has a name that is not UTF-8: rename the file") from None
        self._capture = _opened(address, os.path.abspath(address.target), cv2.CAP_FFMPEG)
        rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        if realtime and not 0 < rate_hz <= _RATE_LIMIT_HZ:
            raise SourceError("E-SOURCE-OPEN", f"{address.name} does not say its frame rate: leave out --realtime")
        self._interval_s = 1 / rate_hz if realtime else 0.0
        self._due_s = math.nan

    def read(self) -> Pixels | None:
        pixels = _rgb(self._capture)
        if self._interval_s:
            now_s = time.monotonic()
            self._due_s = now_s if math.isnan(self._due_s) else self._due_s + self._interval_s
            time.sleep(max(0.0, self._due_s - now_s))
        return pixels

    def close(self) -> None:
        self._capture.release()


def _opened(address: Address, target: str, backend: int, options: Sequence[int] = ()) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(target, backend, options)
    if not capture.isOpened():
        cure = "check that it is a video that FFmpeg plays" if address.kind == "video" else "check cable, power and address"
        raise SourceError("E-SOURCE-OPEN", f"{address.name} does not open: {cure}")
    return capture


def _rgb(capture: cv2.VideoCapture) -> Pixels | None:
    found, frame = capture.read()
    if not found:
        return None
    pixels: Pixels = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)  # type: ignore[assignment]  # OpenCV's stubs lose the type
    return pixels
