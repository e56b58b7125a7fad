"""The cameras of a Raspberry Pi, through picamera2. Imported only in the capture process."""

import logging
import os

os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")  # before the import, or it prints a greeting on stderr

import cv2
import numpy as np
from picamera2 import Picamera2

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.camera.source import Address, Settings, Source
from limiar.edge_app.errors import SourceError

logging.getLogger("picamera2").setLevel(logging.CRITICAL)  # it raises the same errors that it logs to stderr

# libcamera names formats as DRM does, by the digits of a little-endian number: "BGR888" is R, G, B in memory.
_PACKED = {  # format -> bytes per pixel, and the places of red, green and blue in them
    "BGR888": (3, (0, 1, 2)),
    "RGB888": (3, (2, 1, 0)),
    "XBGR8888": (4, (0, 1, 2)),
    "ABGR8888": (4, (0, 1, 2)),
    "XRGB8888": (4, (2, 1, 0)),
    "ARGB8888": (4, (2, 1, 0)),
}
_HALVED = {  # luma, then the colours at half size: h * 3 / 2 rows of `stride` bytes
    "YUV420": cv2.COLOR_YUV2RGB_I420,
    "YVU420": cv2.COLOR_YUV2RGB_YV12,
    "NV12": cv2.COLOR_YUV2RGB_NV12,
    "NV21": cv2.COLOR_YUV2RGB_NV21,
}
_INTERLEAVED = {  # two bytes per pixel
    "YUYV": cv2.COLOR_YUV2RGB_YUYV,
    "YVYU": cv2.COLOR_YUV2RGB_YVYU,
    "UYVY": cv2.COLOR_YUV2RGB_UYVY,
}


def open_source(address: Address, _realtime: bool, settings: Settings) -> Source:
    """`picamera:0` -> the camera that libcamera lists first. Raises SourceError."""
    try:
        return PiCamera(int(address.target), settings)
    except SourceError:
        raise
    except Exception as error:  # picamera2 raises RuntimeError, IndexError and whatever libcamera's bindings raise
        first: BaseException = error
        while first.__cause__:  # picamera2 only says that it "did not complete"; libcamera says why: the camera is busy
            first = first.__cause__
        reason = " ".join(str(first).split())[:160]
        cure = "check its cable, and that no other program uses it"
        raise SourceError("E-SOURCE-OPEN", f"{address.name} does not open ({reason}): {cure}") from None


class PiCamera:
    """A camera that libcamera drives."""

    live = True
    place = None
    doubtful = None
    stamp_s = None
    loss = None
    note: str | None = None

    def __init__(self, number: int, settings: Settings) -> None:
        self._camera = Picamera2(number)
        main: dict[str, object] = {"format": "BGR888"}
        wanted: dict[str, object] = {"main": main, "raw": None}  # a raw stream would take memory for nothing
        if settings.size:
            main["size"] = settings.size
        if settings.rate_hz:
            wanted["controls"] = {"FrameRate": settings.rate_hz}
        self._camera.configure(self._camera.create_video_configuration(**wanted))
        stream = self._camera.camera_configuration()["main"]  # a camera may give a format that was not asked for
        self._format, self._size, self._stride = str(stream["format"]), stream["size"], stream["stride"]
        if self._format not in {*_PACKED, *_HALVED, *_INTERLEAVED}:
            raise SourceError("E-SOURCE-FORMAT", f"picamera:{number} gives {self._format}: use a camera that gives RGB or YUV")
        if settings.size and tuple(self._size) != settings.size:
            given, asked = ("{}x{}".format(*size) for size in (self._size, settings.size))
            self.note = f"picamera:{number} gives {given} pixels, not {asked}"
        self._camera.start()

    def read(self) -> Pixels | None:
        # The plain buffer, not capture_array: that knows fewer formats, and leaves padding in some rows.
        return to_rgb(self._camera.capture_buffer("main"), self._format, self._size, self._stride)

    def close(self) -> None:
        self._camera.close()


def to_rgb(buffer: Pixels, pixel_format: str, size: tuple[int, int], stride: int) -> Pixels:
    """A frame as libcamera delivers it -> uint8 [H, W, 3], RGB.

    `buffer` is uint8 [bytes], `size` is width and height in pixels, `stride` the bytes of a row with its padding. YUV is read
    as ITU-R BT.601 with limited range; only cameras that cannot give RGB send it.
    """
    width, height = size
    if pixel_format in _PACKED:
        pixel_bytes, order = _PACKED[pixel_format]
        rows = buffer[: height * stride].reshape(height, stride)[:, : width * pixel_bytes]
        return np.ascontiguousarray(rows.reshape(height, width, pixel_bytes)[:, :, order])
    if pixel_format in _HALVED:
        planes = buffer[: height * 3 // 2 * stride].reshape(height * 3 // 2, stride)
        converted = cv2.cvtColor(planes, _HALVED[pixel_format])
    else:
        pairs = buffer[: height * stride].reshape(height, stride // 2, 2)
        converted = cv2.cvtColor(pairs, _INTERLEAVED[pixel_format])
    cropped: Pixels = np.ascontiguousarray(converted[:, :width])
    return cropped
