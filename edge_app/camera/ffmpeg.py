"""OpenCV's FFmpeg, and its messages about a video. Imported only in the capture process."""

import ctypes
import os
import re
from typing import Self

import cv2

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.errors import SourceError

# Warnings and errors: nothing else tells a damaged frame from a whole one. They quote a stream's URL with its password, so they
# are never shown: they go to `Heard`, or to /dev/null, which is the capture process's stdout.
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "24"
# Over UDP a lost packet tears a frame. OpenCV 5 asks for TCP unprompted, 4.11 does not.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")

FRAME_LIMIT_PX = 50_000_000  # a frame before --roi, as for an image: 150 MB, twice that while its colours are reordered

_MESSAGE = re.compile(rb"\[OPENCV:FFMPEG:(\d+)\] (.*)")
_ERROR = 16  # libavutil/log.h: AV_LOG_ERROR; a warning is 24
# Errors in intact videos: a conversion that is then done another way, and a comment that cameras put in their JPEGs.
_HARMLESS = re.compile(rb"Cannot convert interlaced|APP fields")
_TELLING = re.compile(rb"corrupt|EOI missing|partial file|prematurely|missed|[Tt]runcat|damaged|mismatch")  # in warnings
_C = ctypes.CDLL(None)


class Heard:
    """While entered, takes what FFmpeg says, which OpenCV prints on stdout."""

    def __init__(self) -> None:
        self._file = os.memfd_create("ffmpeg", os.MFD_CLOEXEC)

    def __enter__(self) -> Self:
        self._stdout = os.dup(1)
        os.dup2(self._file, 1)
        return self

    def __exit__(self, *_: object) -> None:
        _C.fflush(None)  # C's stdout, not Python's
        os.dup2(self._stdout, 1)
        os.close(self._stdout)

    def damage(self) -> bool:
        """Whether any of it, since the last call, was about damaged or missing data."""
        return any(_tells(int(level), text) for level, text in _MESSAGE.findall(self.taken()))

    def taken(self) -> bytes:
        """What was said since the last call. Never show it: it may quote passwords."""
        size = os.lseek(self._file, 0, os.SEEK_CUR)
        said = os.pread(self._file, size, 0)
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        return said

    def close(self) -> None:
        """Frees the memory."""
        os.close(self._file)


def _tells(level: int, text: bytes) -> bool:
    return not _HARMLESS.search(text) if level <= _ERROR else bool(_TELLING.search(text))


def check_size(capture: cv2.VideoCapture, name: str) -> None:
    """Raises SourceError for frames that would take too much memory, before the first one is decoded."""
    width, height = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > FRAME_LIMIT_PX:
        met = f"{name} has frames of {width}x{height} pixels, the limit is {FRAME_LIMIT_PX // 1_000_000} megapixels"
        raise SourceError("E-SOURCE-FRAME", f"{met}: give smaller frames")


def retrieved(capture: cv2.VideoCapture) -> Pixels | None:
    """The frame that was grabbed, uint8 [H, W, 3], RGB; None if it cannot be decoded."""
    found, frame = capture.retrieve()
    if not found:
        return None
    pixels: Pixels = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)  # type: ignore[assignment]  # OpenCV's stubs lose the type
    return pixels


def starts_anew(capture: cv2.VideoCapture) -> bool:
    """Whether the last packet that the decoder took builds on no other."""
    return capture.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME) > 0


def kind(capture: cv2.VideoCapture) -> str:
    """The kind of the frame that was grabbed: I, P or B, or ? if the decoder does not say."""
    return chr(int(capture.get(cv2.CAP_PROP_FRAME_TYPE))) if capture.get(cv2.CAP_PROP_FRAME_TYPE) > 0 else "?"
