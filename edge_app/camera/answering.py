"""The process that answers frames. It shares their pixels; if a frame crashes or hangs the model, only that frame is lost.

parent -> child   Model and the descriptor of the memory, once; then a Look for each frame, and a Keep if it is to be a file
child -> parent   Ready, Failed or Unfit, once; then FrameAnswer or FrameRefusal for a Look, KeptFrame or NotKept for a Keep
"""

import contextlib
import functools
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from limiar.edge_app.answer import Answer
from limiar.edge_app.bundle.manifest import REFER
from limiar.edge_app.camera.frame import Frame, SharedMemory
from limiar.edge_app.camera.messages import FRAME_BYTES, FrameAnswer, FrameRefusal, Keep, KeptFrame, Look, NotKept
from limiar.edge_app.errors import ImageError, LimiarError, ModelUnfit, OutputError
from limiar.edge_app.inference.child import ChildLost, end, load_with, receive, told
from limiar.edge_app.inference.model import Failed, Model, Ready, Unfit
from limiar.edge_app.system.channel import WorkerEnd
from limiar.edge_app.system.children import start_child
from limiar.edge_app.system.process import cpu_s, gets_no_time

if TYPE_CHECKING:  # the process that keeps the store loads no numpy
    from limiar.edge_app.arrays import Pixels

_FRAME_S = 5.0  # for one frame
_BUSY_S = 60.0  # for one frame, if the machine is too busy to run the process
_LOSSES = 2  # if one frame costs this many processes, the frame is at fault
_KEEP_S = 20.0  # to write a frame: a worn SD card stops for seconds
_REPLIES = msgspec.msgpack.Decoder(FrameAnswer | FrameRefusal | Failed | Unfit)
_FILES = msgspec.msgpack.Decoder(KeptFrame | NotKept | Failed)


class Answering:
    """A model file that answers frames, in a process of its own. Use as a context manager: leaving ends it."""

    def __init__(self, model: Model, memory: SharedMemory, turn: Callable[[], None] = lambda: None) -> None:
        """memory: where the frames' pixels are. turn: called twice a second while this waits.

        Raises RuntimeUnavailable, and ModelUnfit if the model file is at fault.
        """
        self._turn = turn
        self._model = model
        self._memory = memory
        self._start()

    def _start(self) -> None:
        start = functools.partial(start_child, answer_frames, (self._memory.descriptor,))
        self._process, self._connection, self.loaded = load_with(start, self._model, self._turn)
        self._connection.send(msgspec.msgpack.encode(self._memory.descriptor))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        end(self._process, self._connection)

    def answer(self, frame: Frame, picture: Path | None = None) -> Answer:
        """Answers a frame, whose pixels are in the memory now; a doubtful one is referred.

        picture: a file for a drawing of the frame with its answer. Raises ImageError, RuntimeUnavailable, OutputError.
        """
        target = None if picture is None else os.fsencode(picture)
        look = msgspec.msgpack.encode(Look(frame.height, frame.width, bool(frame.doubtful), target))
        for loss in range(_LOSSES):
            self._connection.send(look)
            try:
                reply = _REPLIES.decode(self._next())
            except ChildLost as lost:
                hung = self._process.is_alive()
                end(self._process, self._connection)
                self._start()
                if hung:
                    raise ImageError("E-IMAGE-TIMEOUT", f"the process that answers it {lost}: choose another --file") from None
                if loss + 1 == _LOSSES:
                    met = f"the process that answers it {lost}, {_LOSSES} times"
                    raise ImageError("E-IMAGE-CRASH", f"{met}: keep the frame and report it") from None
                continue
            match reply:
                case FrameAnswer() as found:
                    return found.answer
                case FrameRefusal(code, message):
                    raise ImageError(code, message)
                case Unfit(code, message):
                    raise ModelUnfit(code, message)
                case Failed(code, message):
                    raise LimiarError(code, message)
        raise AssertionError("the last loss is an error")

    def keep(self, frame: Frame, folder: Path, stem: str, form: str) -> KeptFrame:
        """Writes a frame that is still in the memory as `folder/stem.png` or `.jpg`; form: "png" or "jpeg".

        It is on the disk when this returns. Raises OutputError, RuntimeUnavailable.
        """
        self._connection.send(msgspec.msgpack.encode(Keep(frame.height, frame.width, os.fsencode(folder), stem, form)))
        try:
            reply = _FILES.decode(receive(self._process, self._connection, _KEEP_S, self._turn))
        except ChildLost as lost:
            end(self._process, self._connection)
            self._start()
            met = f"{folder}: the process that writes a frame there {lost}"
            raise OutputError("E-OUTPUT-WRITE", f"{met}: check the disk") from None
        if isinstance(reply, KeptFrame):
            return reply
        raise OutputError(reply.code, reply.message)

    def _next(self) -> bytes:
        """Raises ChildLost."""
        started, before_s = time.monotonic(), cpu_s(self._process.pid)
        while True:
            try:
                return receive(self._process, self._connection, _FRAME_S, self._turn)
            except ChildLost:
                late = self._process.is_alive() and time.monotonic() - started < _BUSY_S
                if not (late and gets_no_time(self._process.pid, before_s, _FRAME_S)):
                    raise


def answer_frames(parent: WorkerEnd) -> None:
    """The child's life."""
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError), told(parent.send):
        from limiar.edge_app.camera.frame import pixels
        from limiar.edge_app.inference.classifier import load  # numpy and the runtime

        classifier = load(msgspec.msgpack.decode(parent.receive(), type=Model))
        parent.send(msgspec.msgpack.encode(Ready(classifier.runtime.name, classifier.runtime.version)))
        memory = mmap.mmap(msgspec.msgpack.decode(parent.receive(), type=int), FRAME_BYTES)
        asked = msgspec.msgpack.Decoder(Look | Keep)
        while True:
            look = asked.decode(parent.receive())
            seen = pixels(memory, look.height, look.width)
            if isinstance(look, Keep):
                parent.send(msgspec.msgpack.encode(_kept(seen, look)))
                continue
            try:
                answer = classifier.answer(seen)
            except ImageError as error:
                parent.send(msgspec.msgpack.encode(FrameRefusal(error.code, error.message)))
                continue
            if look.doubtful:
                answer = msgspec.structs.replace(answer, decision=REFER)
            if look.picture is not None:
                from limiar.edge_app.output.annotate import draw_answer  # rarely needed

                draw_answer(seen, answer, Path(os.fsdecode(look.picture)))
            parent.send(msgspec.msgpack.encode(FrameAnswer(answer)))


def _kept(seen: "Pixels", asked: Keep) -> KeptFrame | NotKept:
    from limiar.edge_app.camera.keep import keep  # OpenCV, which is loaded by now

    try:
        return keep(seen, Path(os.fsdecode(asked.folder)), asked.stem, asked.form)
    except OutputError as error:
        return NotKept(error.code, error.message)
