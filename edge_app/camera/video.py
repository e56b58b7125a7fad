"""Video files, through OpenCV's FFmpeg. Imported only in the capture process.

A damaged frame does not end a video: the frames after it are read, and lost ones are counted. OpenCV only says whether there is
a frame. Frames that FFmpeg has patched, or that build on a missing one, look whole; only the decoder's messages show it
(measurements: docs/camera.md).
"""

import math
import os
import time

import cv2
from msgspec import Struct

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.camera.container import VideoContainer
from limiar.edge_app.camera.damage import Account, Place
from limiar.edge_app.camera.ffmpeg import Heard, check_size, kind, retrieved, starts_anew
from limiar.edge_app.camera.source import Address, Settings, Source
from limiar.edge_app.errors import SourceError

_RATE_LIMIT_HZ = 1000.0  # a file that claims more, or nothing, does not know its frame rate
_SILENT_FAILURES = 256  # in a row: the end, since FFmpeg complains about a frame that it cannot read
_SKIP_S = 3.0  # to find the next good frame; less than the parent waits


def open_source(address: Address, realtime: bool, _settings: Settings) -> Source:
    """Raises SourceError if there is no such video."""
    return VideoFile(address, realtime)


class _Shot(Struct, frozen=True):
    """A frame that was read, and its place."""

    pixels: Pixels
    place: Place
    doubtful: bool


class VideoFile:
    """A video, turned upright as its file says; in real time `read` waits until a frame is due."""

    live = False
    stamp_s = None

    def __init__(self, address: Address, realtime: bool) -> None:
        self._name = address.name
        self._container = VideoContainer(address.target, self._name)
        self._heard = Heard()
        # One thread: so a message is about this frame, and not about one a dozen frames later.
        with self._heard:
            self._capture = cv2.VideoCapture(os.path.abspath(address.target), cv2.CAP_FFMPEG, (cv2.CAP_PROP_N_THREADS, 1))
        if not self._capture.isOpened():
            raise self._container.unreadable()
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # OpenCV 5 turns frames by default, 4.11 does not
        check_size(self._capture, self._name)
        rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        rate_hz = rate_hz if 0 < rate_hz <= _RATE_LIMIT_HZ else 0.0
        if realtime and not rate_hz:
            raise SourceError("E-SOURCE-OPEN", f"{self._name} does not say its frame rate: leave out --realtime")
        self._interval_s = 1 / rate_hz if realtime else 0.0
        self._due_s = math.nan
        announced = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        # The decoder reads the first seconds when it opens the file, and complains about them only then.
        met_at_start = self._heard.damage()
        self._account = Account(rate_hz, announced, self._container.timed, met_at_start)
        self._ahead: _Shot | None = None
        self._begun = False
        self.place: Place | None = None
        self.doubtful: bool | None = None
        self.loss: str | None = None
        self.note: str | None = None

    def read(self) -> Pixels | None:
        """The next frame. It is held back until the one after it is read: damage often shows only there."""
        if not self._begun:
            self._begun = True
            self._ahead, _ = self._next()
        shot = self._ahead
        if shot is None:
            self.loss = self._account.loss(self._container.missing_bytes, self._container.fault)
            # To FFmpeg a failing disk looks like the end of the file, unless the file says how long it is.
            if self.loss is None and (self._account.short or not self._container.measured):
                self.loss = self._container.read_error()
            if self.loss is None and (remark := self._account.remark()):
                self.note = f"{self._name}: {remark}"
            if self._account.empty:
                raise self._container.without_frames(self.loss)
            return None
        self._ahead, met = self._next()
        met = met or (self._ahead is None and self._container.fault is not None)  # the last frame may be cut
        self.place = shot.place
        self.doubtful = shot.doubtful or met or (self._ahead is not None and self._ahead.doubtful)
        self._account.doubtful += self.doubtful
        if self._interval_s:
            now_s = time.monotonic()
            self._due_s = now_s if math.isnan(self._due_s) else self._due_s + self._interval_s
            time.sleep(max(0.0, self._due_s - now_s))
        return shot.pixels

    def close(self) -> None:
        self._capture.release()
        self._heard.close()

    def _next(self) -> tuple[_Shot | None, bool]:
        """The next frame that can be read, None at the end; and whether damage was met on the way."""
        met, silent, until_s = False, 0, time.monotonic() + _SKIP_S
        while silent < _SILENT_FAILURES and time.monotonic() < until_s:
            with self._heard:
                pixels = retrieved(self._capture) if self._capture.grab() else None
            complained = self._heard.damage()
            met = met or complained
            if pixels is not None:
                place = self._placed(complained)
                return _Shot(pixels, place, self._account.doubt.now), met
            silent = 0 if complained else silent + 1
            self._account.failed(loudly=complained)
        return None, met

    def _placed(self, complained: bool) -> Place:
        time_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return self._account.placed(time_s, complained, starts_anew(self._capture), kind(self._capture))
