"""The loop of `limiar camera`: frames -> answers -> store -> lines that may be reported."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct

from limiar.edge_app.answer import Answer
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import REFER, REFUSED
from limiar.edge_app.camera.capture import Capture
from limiar.edge_app.camera.frame import Frame
from limiar.edge_app.errors import ImageError, SourceError
from limiar.edge_app.inference.classifier import Classifier
from limiar.edge_app.output.lines import CameraLine, FrameLine, Origin, RefusedFrame
from limiar.edge_app.store.writer import Store
from limiar.edge_app.system.clock import iso


class Watch(Struct):
    """A running camera. Iterating over it gives groups of lines, each group after its commit."""

    capture: Capture
    classifier: Classifier
    store: Store
    source: str  # its name
    boot_id: str
    origin: Origin
    now: Callable[[], str]
    stop: Callable[[], bool]  # asked at least every 50 ms
    annotate: Callable[[Pixels, Answer, FrameLine], None] | None = None  # given each answer with its frame

    def __iter__(self) -> Iterator[list[CameraLine]]:
        waiting: list[CameraLine] = []
        failure: SourceError | None = None
        before = self.store.last_sequence(self.source, self.boot_id)
        try:
            for frame in self.capture.frames():
                if self.stop():
                    break
                if frame:
                    waiting.append(self._kept(frame, before + frame.sequence))
                if self.store.commit_due() or (waiting and not self.store.changed):
                    self.store.commit()
                    yield waiting
                    waiting = []
        except SourceError as error:
            failure = error
        self.store.commit()
        yield waiting
        if failure:  # what was answered until then is kept and reported first
            raise failure

    def _kept(self, frame: Frame, sequence: int) -> CameraLine:
        """Answers a frame and adds the answer to the store; the line to report once it is committed."""
        taken = iso(frame.taken_ns)
        place = (self.source, sequence, taken, frame.dropped)
        video = {} if frame.place is None else msgspec.structs.asdict(frame.place)
        if frame.doubtful is not None:
            video["doubtful"] = frame.doubtful
        origin = (self.origin.bundle, self.origin.file, self.origin.runtime, self.origin.verified, self.origin.app)
        try:
            answer = self.classifier.answer(frame.pixels)
        except ImageError as error:
            met = (REFUSED, error.code, error.message)
            return RefusedFrame(*place, *met, *origin, self.now(), stored=False, **video)
        if frame.doubtful:
            answer = msgspec.structs.replace(answer, decision=REFER)
        self.store.add_frame(self.source, self.boot_id, sequence, frame.dropped, msgspec.structs.replace(answer, time=taken))
        line = FrameLine(
            *place,
            answer.decision,
            answer.label,
            answer.confidence,
            answer.probabilities,
            *origin,
            answer.time,
            stored=False,
            ms=answer.ms,
            outside=UNSET if answer.outside is None else answer.outside,
            **video,
        )
        if self.annotate:
            self.annotate(frame.pixels, answer, line)
        return line


def boot_id() -> str:
    """What Linux calls this boot: with it, sequence numbers give the order of frames however the clock jumps."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # no /proc: then this start counts as one
        return str(uuid.uuid4())
