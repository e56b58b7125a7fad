"""OpenCV's FFmpeg, and what it says about a video. Imported in the capture process alone."""

import ctypes
import os
import re
from typing import Self

import cv2

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.errors import SourceError

# Warnings and errors: nothing else tells a damaged frame from a whole one. They hold a stream's URL with its password, and so
# go to nobody: `Heard` takes them, or the null device that is the capture process's stdout.
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "24"
# Over UDP a lost packet is a torn frame; OpenCV 5 asks for TCP by itself, 4.11 does not.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")

FRAME_LIMIT_PX = 50_000_000  # of a whole frame, as of an image: 150 MB, twice, while its colours are turned round

_MESSAGE = re.compile(rb"\[OPENCV:FFMPEG:(\d+)\] (.*)")
_ERROR = 16  # libavutil/log.h: AV_LOG_ERROR; a warning is 24
# Errors that whole videos meet: a conversion that is done another way, and a comment of a camera's in its JPEGs.
_HARMLESS = re.compile(rb"Cannot convert interlaced|APP fields")
_TELLING = re.compile(rb"corrupt|EOI missing|partial file|prematurely|missed|[Tt]runcat|damaged|mismatch")  # of warnings
_C = ctypes.CDLL(None)


class Heard:
    """What FFmpeg says while this is entered, instead of on stdout, where OpenCV prints it."""

    def __init__(self) -> None:
        self._file = os.memfd_create("ffmpeg", os.MFD_CLOEXEC)

    def __enter__(self) -> Self:
        self._stdout = os.dup(1)
        os.dup2(self._file, 1)
        return self

    def __exit__(self, *_: object) -> None:
        _C.fflush(None)  # it is C that prints
        os.dup2(self._stdout, 1)
        os.close(self._stdout)

    def damage(self) -> bool:
        """Was any of it, since it was taken last, about data that are damaged or missing?"""
        return any(_tells(int(level), text) for level, text in _MESSAGE.findall(self.taken()))

    def taken(self) -> bytes:
        """What was said since. It may hold passwords: never to be shown."""
        size = os.lseek(self._file, 0, os.SEEK_CUR)
        said = os.pread(self._file, size, 0)
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        return said

    def close(self) -> None:
        """Forgets it all."""
        os.close(self._file)


def _tells(level: int, text: bytes) -> bool:
    return not _HARMLESS.search(text) if level <= _ERROR else bool(_TELLING.search(text))


def check_size(capture: cv2.VideoCapture, name: str) -> None:
    """Raises SourceError for frames that would take too much memory: asked before the first one is made."""
    width, height = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > FRAME_LIMIT_PX:
        met = f"{name} has frames of {width}x{height} pixels, the limit is {FRAME_LIMIT_PX // 1_000_000} megapixels"
        raise SourceError("E-SOURCE-FRAME", f"{met}: give smaller frames")


def retrieved(capture: cv2.VideoCapture) -> Pixels | None:
    """The frame that was grabbed, uint8 [H, W, 3], RGB; None where it cannot be had after all."""
    found, frame = capture.retrieve()
    if not found:
        return None
    pixels: Pixels = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)  # type: ignore[assignment]  # OpenCV's stubs lose the type
    return pixels


def starts_anew(capture: cv2.VideoCapture) -> bool:
    """Does the last packet that the decoder took build on no other?"""
    return capture.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME) > 0


def kind(capture: cv2.VideoCapture) -> str:
    """Of the frame that was grabbed: I, P or B, or ? where the decoder does not say."""
    return chr(int(capture.get(cv2.CAP_PROP_FRAME_TYPE))) if capture.get(cv2.CAP_PROP_FRAME_TYPE) > 0 else "?"
