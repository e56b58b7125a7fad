"""A camera as the parent process sees it: a child process captures, and a deadline holds for every frame.

A camera stack can block for ever, crash, or give the same frame again and again; none of that may stop the app or become an
answer. The child is forked before this process loads numpy or a runtime, whose threads a fork would leave behind.

parent -> child   an empty message: one frame, please
child -> parent   Opened, then a few Proving; then Taken for each frame asked for; Ended or SourceFailed is the last

Both share the memory that holds the pixels: through the pipe, a 1080p frame took the parent 5 ms instead of 0.1.
"""

import contextlib
import functools
import mmap
import os
import time
from collections.abc import Callable, Iterator
from typing import Self

import msgspec

from limiar.edge_app.camera.frame import Frame
from limiar.edge_app.camera.messages import FRAME_BYTES, FRAME_S, Ended, Opened, Proving, SourceFailed, Taken, View
from limiar.edge_app.camera.source import Source
from limiar.edge_app.errors import SourceError
from limiar.edge_app.system.channel import WorkerEnd
from limiar.edge_app.system.children import fork_child
from limiar.edge_app.system.limits import limit_met

_OPEN_S = 30.0  # for picamera2's imports from a slow SD card, or an RTSP camera far away
_END_S = 0.5  # for the child to end in order, before it is killed
_TICK_S = 0.05  # how often the caller gets a turn to commit and report


_REPLIES = msgspec.msgpack.Decoder(Opened | Proving | Taken | Ended | SourceFailed)


class Capture:
    """A source in a process of its own. Use as a context manager."""

    def __init__(
        self,
        open_source: Callable[[], Source],
        view: View,
        tell: Callable[[str], None] = lambda note: None,
        memory: mmap.mmap | None = None,
    ) -> None:
        """tell: called with what a person should know: about a camera once it is open, about a video at its end.

        memory: FRAME_BYTES that a third process shares; None: only these two share it.
        """
        self._name = view.name
        self._patience_s = min(view.patience_s, FRAME_S)
        self._tell = tell
        self.loss: str | None = None  # in words, what could not be read of a video file, once its end is reached
        self._memory = memory or mmap.mmap(-1, FRAME_BYTES)
        self._process, self._connection = fork_child(functools.partial(_child, open_source, view, self._memory))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_END_S)  # not for ever: a driver can hold a process that is being killed

    def frames(self) -> Iterator[Frame | None]:
        """Each frame when it comes, and None at least every 50 ms, so that the caller can act. Raises SourceError.

        A live source gives the first frame that arrives after the caller has dealt with the last one; a video file gives every
        frame, until its end. A frame's pixels are valid until the next one is asked for: copy what you keep.
        """
        self._ask()
        deadline = time.monotonic() + _OPEN_S
        while True:
            if (reply := self._next()) is None:
                if time.monotonic() >= deadline:
                    cure = "check cable, power and connection, then start again"
                    raise SourceError("E-SOURCE-STALLED", f"{self._name} gave no frame for {self._patience_s:.0f} s: {cure}")
                yield None
                continue
            match reply:
                case Opened(note):
                    if note:
                        self._tell(note)
                    deadline = time.monotonic() + self._patience_s
                case Proving():
                    deadline = time.monotonic() + self._patience_s
                case SourceFailed(code, message):
                    raise SourceError(code, message)
                case Ended(loss, note):
                    self.loss = loss
                    if note:
                        self._tell(note)
                    return
                case Taken() as taken:
                    yield self._frame(taken)
                    self._ask()
                    deadline = time.monotonic() + self._patience_s

    def _ask(self) -> None:
        self._connection.send(b"")

    def _next(self) -> Opened | Proving | Taken | Ended | SourceFailed | None:
        try:
            message = self._connection.next(_TICK_S)
            return None if message is None else _REPLIES.decode(message)
        except (EOFError, msgspec.MsgspecError):
            raise self._lost() from None

    def _frame(self, taken: Taken) -> Frame:
        size = (taken.height, taken.width)
        return Frame(self._memory, *size, taken.sequence, taken.taken_ns, taken.dropped, taken.place, taken.doubtful)

    def _lost(self) -> SourceError:
        self._process.join(_END_S)
        met = f"{self._name}: the process that reads it ended with {self._process.exitcode}"
        return SourceError("E-SOURCE-ENDED", f"{met}: start again; if it happens again, check the camera's driver")


def _child(open_source: Callable[[], Source], view: View, memory: mmap.mmap, parent: WorkerEnd) -> None:
    # stdout belongs to the results, and FFmpeg would print a stream's password there.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        from limiar.edge_app.camera.grab import grab  # numpy and the camera's library are loaded here

        grab(open_source, view, memory, parent)
    except (OSError, MemoryError, ImportError, RuntimeError) as error:
        if not (limit := limit_met(error)):
            raise
        with contextlib.suppress(OSError):
            parent.send(msgspec.msgpack.encode(SourceFailed(limit.code, limit.message)))
