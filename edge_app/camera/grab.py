"""The capture process: it reads a source without pause and hands out a fresh frame each time one is asked for."""

import contextlib
import resource
import time
from collections.abc import Callable
from mmap import mmap

import msgspec
import numpy as np

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.camera.freshness import Freshness
from limiar.edge_app.camera.messages import FRAME_BYTES, Ended, Opened, Proving, Roi, SourceFailed, Taken, View
from limiar.edge_app.camera.source import Source
from limiar.edge_app.errors import LimiarError, SourceError
from limiar.edge_app.system.channel import WorkerEnd
from limiar.edge_app.system.clock import now_ns
from limiar.edge_app.system.limits import DATA, taken_bytes

_NOTHING_S = 0.01  # before a camera that had nothing is asked again
MEMORY_BYTES = 2 << 30  # for reading, beyond what is in use once the source is open: a 50-megapixel H.264 needs 1.7 GB at most


def grab(open_source: Callable[[], Source], view: View, memory: mmap, parent: WorkerEnd) -> None:
    """The life of the capture process; it ends with the source, or when the parent hangs up."""
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            source = open_source()
            _limit_memory()
            _send(parent, Opened(source.note))
            try:
                _serve(source, view, memory, parent)
            finally:
                source.close()
        except LimiarError as error:
            _send(parent, SourceFailed(error.code, error.message))


def _limit_memory() -> None:
    """Limits this process: a later frame may have any size, and must not take memory from other programs."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = taken_bytes(DATA) + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _serve(source: Source, view: View, memory: mmap, parent: WorkerEnd) -> None:
    """Hands out frames. A live source goes on whether or not a frame is wanted: the latest one wins. A file waits."""
    passing = source.live or view.realtime
    freshness, form = Freshness(view), _Form(view)
    sequence = dropped = 0
    while True:
        if not passing:
            parent.receive()
        pixels, taken_ns = _read(source, view.name), now_ns()
        if pixels is None and not source.live:
            return _send(parent, Ended(source.loss, source.note))
        if pixels is None:
            time.sleep(_NOTHING_S)
            continue
        sequence += 1
        seen = form.part(pixels)
        old = source.live and freshness.is_old(pixels, source.stamp_s, time.monotonic())
        if source.live and not old and not freshness.proves(time.monotonic()):
            _send(parent, Proving())
            old = True
        if old or (passing and not parent.waits()):
            dropped += 1
            continue
        if passing:
            parent.receive()
        np.frombuffer(memory, np.uint8, seen.size).reshape(seen.shape)[:] = seen
        _send(parent, Taken(sequence, taken_ns, dropped, seen.shape[0], seen.shape[1], source.place, source.doubtful))
        dropped = 0


def _read(source: Source, name: str) -> Pixels | None:
    try:
        return source.read()
    except LimiarError:
        raise
    except Exception as error:  # a camera stack raises anything: cv2.error, RuntimeError, OSError, …
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise SourceError("E-SOURCE-READ", f"{name} failed ({reason}): check the camera, then start again") from error


class _Form:
    """Checks that all frames of a source have one shape, and cuts out the part that is looked at."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._shape: tuple[int, ...] | None = None  # of the first frame

    def part(self, frame: Pixels) -> Pixels:
        """uint8 [H, W, 3] -> the region of interest. Raises SourceError."""
        name, shape = self._view.name, np.shape(frame)
        if getattr(frame, "dtype", None) != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            met = f"{name} gave a frame of shape {list(shape)}, not [height, width, 3] in 8 bits"
            raise SourceError("E-SOURCE-FRAME", f"{met}: set the camera to RGB")
        if self._shape is None:
            self._shape = shape
            _check_roi(self._view.roi, shape, name)
        if shape != self._shape:
            met = f"{name} gave {self._shape[1]}x{self._shape[0]} pixels and now gives {shape[1]}x{shape[0]}"
            raise SourceError("E-SOURCE-SIZE", f"{met}: check the camera, then start again")
        if roi := self._view.roi:
            frame = frame[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
        if frame.size > FRAME_BYTES:
            met = f"{name} gives {shape[1]}x{shape[0]} pixels, the limit is {FRAME_BYTES // 3_000_000} megapixels"
            raise SourceError("E-SOURCE-FRAME", f"{met}: set the camera to smaller frames, or give --roi")
        return frame


def _check_roi(roi: Roi | None, shape: tuple[int, ...], name: str) -> None:
    if roi and (roi.x + roi.width > shape[1] or roi.y + roi.height > shape[0]):
        met = f"--roi {roi.x},{roi.y},{roi.width},{roi.height} reaches beyond the {shape[1]}x{shape[0]} pixels of {name}"
        raise SourceError("E-SOURCE-ROI", f"{met}: choose a part inside the frame")


def _send(parent: WorkerEnd, reply: Opened | Proving | Taken | Ended | SourceFailed) -> None:
    parent.send(msgspec.msgpack.encode(reply))
