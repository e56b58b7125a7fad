"""V4L2 cameras and streams, through OpenCV. Imported in the capture process alone."""

from collections.abc import Sequence

import cv2

from edge_app.errors import SourceError
from edge_app.frame import Pixels
from edge_app.sources import Address, Source
from edge_app.sources.ffmpeg import check_size, retrieved

_CONNECT_MS = 10_000  # to reach an RTSP camera; OpenCV's own limit is 30 s


def open_source(address: Address, _realtime: bool) -> Source:
    """Raises SourceError where there is no such camera."""
    if address.kind == "v4l2":
        return Camera(_opened(address, cv2.CAP_V4L2))
    return Camera(_opened(address, cv2.CAP_FFMPEG, (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _CONNECT_MS)))


class Camera:
    """A V4L2 camera or a stream."""

    live = True
    place = None
    loss = None

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture

    def read(self) -> Pixels | None:
        return retrieved(self._capture) if self._capture.grab() else None

    def close(self) -> None:
        self._capture.release()


def _opened(address: Address, backend: int, options: Sequence[int] = ()) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(address.target, backend, options)
    if not capture.isOpened():
        raise SourceError("E-SOURCE-OPEN", f"{address.name} does not open: check cable, power and address")
    check_size(capture, address.name)
    return capture
