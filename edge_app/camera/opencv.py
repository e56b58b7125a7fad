"""V4L2 cameras and RTSP streams, through OpenCV. Imported only in the capture process."""

import os
import re

import cv2

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.camera.damage import Doubt
from limiar.edge_app.camera.ffmpeg import Heard, check_size, kind, retrieved, starts_anew
from limiar.edge_app.camera.source import Address, Settings, Source
from limiar.edge_app.camera.v4l2 import check_camera, why_not
from limiar.edge_app.errors import SourceError

_CONNECT_MS = 7_000  # to reach an RTSP camera, which must be watched again 10 s after it is back; OpenCV's own limit is 30 s
_RATE_TOLERANCE = 0.02  # 29.97 is 30


def open_source(address: Address, _realtime: bool, settings: Settings) -> Source:
    """Raises SourceError if there is no such camera."""
    if address.kind == "rtsp":
        heard = Heard()
        options = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _CONNECT_MS, cv2.CAP_PROP_N_THREADS, 1)  # one thread: see VideoFile
        with heard:
            capture = cv2.VideoCapture(address.target, cv2.CAP_FFMPEG, options)
        said = heard.taken()  # not about damage: there is no frame yet
        if not capture.isOpened():
            raise _unopened(said, address.name)
        check_size(capture, address.name)
        return Stream(capture, heard)
    check_camera(address.target, address.name)
    capture = cv2.VideoCapture(os.path.realpath(address.target), cv2.CAP_V4L2)
    if not capture.isOpened():
        raise why_not(address.target, address.name)
    ask(capture, settings)
    check_size(capture, address.name)
    return Camera(capture, other(capture, settings, address.name))


class Camera:
    """A V4L2 camera."""

    live = True
    place = None
    doubtful: bool | None = None
    loss = None

    def __init__(self, capture: cv2.VideoCapture, note: str | None = None) -> None:
        self._capture = capture
        self.note = note

    @property
    def stamp_s(self) -> float | None:
        """Of V4L2, when the driver got it; of a stream, its presentation time."""
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def read(self) -> Pixels | None:
        return retrieved(self._capture) if self._capture.grab() else None

    def close(self) -> None:
        self._capture.release()


class Stream(Camera):
    """An RTSP stream. After a loss the decoder complains, and frames are doubtful until one builds on no other."""

    def __init__(self, capture: cv2.VideoCapture, heard: Heard) -> None:
        super().__init__(capture)
        self._heard, self._doubt = heard, Doubt()
        self._complained = False  # since the last frame

    def read(self) -> Pixels | None:
        with self._heard:
            pixels = super().read()
        complained = self._heard.damage()
        self._complained = self._complained or complained
        if pixels is not None:
            self._doubt.frame(self._complained, starts_anew(self._capture) and not complained, kind(self._capture))
            self.doubtful, self._complained = self._doubt.now, False
        return pixels

    def close(self) -> None:
        super().close()
        self._heard.close()


def _unopened(said: bytes, name: str) -> SourceError:
    """The error by RTSP's status (RFC 2326, section 7.1.1). FFmpeg's own words are not quoted: they have the password."""
    if re.search(rb"\b40[13] ", said):
        return SourceError("E-SOURCE-DENIED", f"{name} does not accept this user and password: give rtsp://user:password@…")
    if re.search(rb"\b404 ", said):
        return SourceError("E-SOURCE-OPEN", f"{name} has nothing at this path: look for its RTSP address in its manual")
    if re.search(rb"\b453 |\b503 ", said):
        return SourceError("E-SOURCE-BUSY", f"{name} has no room for another viewer: close one, then start again")
    return SourceError("E-SOURCE-OPEN", f"{name} does not open: check the address, the network, and that the camera is on")


def ask(capture: cv2.VideoCapture, settings: Settings) -> None:
    """Asks a V4L2 camera for the settings: the format first, since most give large frames only as MJPG."""
    if settings.pixel_format:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*settings.pixel_format))
    if settings.size:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.size[1])
    if settings.rate_hz:
        capture.set(cv2.CAP_PROP_FPS, settings.rate_hz)


def other(capture: cv2.VideoCapture, settings: Settings, name: str) -> str | None:
    """In words, what a camera gives instead of what it was asked for: it silently takes the nearest setting that it has."""
    found = []
    size = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    if settings.size and size != settings.size:
        found.append(f"{size[0]}x{size[1]} pixels, not {settings.size[0]}x{settings.size[1]}")
    rate_hz = capture.get(cv2.CAP_PROP_FPS)
    if settings.rate_hz and abs(rate_hz - settings.rate_hz) > _RATE_TOLERANCE * settings.rate_hz:
        found.append(f"{rate_hz:g} frames a second, not {settings.rate_hz:g}")
    code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True).decode("ascii", "replace")
    if settings.pixel_format and code != settings.pixel_format:
        found.append(f"{code}, not {settings.pixel_format}")
    return f"{name} gives {' and '.join(found)}" if found else None
