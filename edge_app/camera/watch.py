"""`limiar.camera`: frames -> answers -> store -> lines that may be reported."""

import functools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from limiar.edge_app.camera.answering import Answering
from limiar.edge_app.camera.capture import Capture
from limiar.edge_app.camera.frame import Frame, SharedMemory
from limiar.edge_app.camera.messages import Roi, View
from limiar.edge_app.camera.source import Settings, find_source, open_source
from limiar.edge_app.camera.voting import Voting
from limiar.edge_app.errors import ImageError
from limiar.edge_app.inference.rule import OutsideRule
from limiar.edge_app.inference.running import Running
from limiar.edge_app.inference.session import Session, open_session
from limiar.edge_app.output.files import writable
from limiar.edge_app.output.lines import Line, Origin, answered, refused
from limiar.edge_app.store.state import default_path
from limiar.edge_app.store.writer import Agreement, Store
from limiar.edge_app.system.clock import boot_id, iso, utc_now

if TYPE_CHECKING:
    from limiar.edge_app.bundle.signature import Keys


def camera(
    bundle: Path | str,
    source: str,
    *,
    file: str | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    refer_below: float | None = None,
    outside: OutsideRule = "refer",
    roi: Roi | None = None,
    agree: tuple[int, int] | None = None,
    realtime: bool = False,
    settings: Settings | None = None,
    seconds: float | None = None,
    db: Path | str | None = None,
    annotate: Path | str | None = None,
    tell: Callable[[str], None] = lambda note: None,
    stop: Callable[[], bool] = lambda: False,
    keys: "Keys | None" = None,
) -> "Watch":
    """Answer the frames of a camera or video, as `limiar camera` does: each answer is kept in the database before you get it.

        for line in limiar.camera("models/lung-nodule", "video:ward.mp4", db="results.db"):
            print(line.sequence, line.taken, line.decision, line.confidence)

    source: "video:FILE", "v4l2:/dev/video0", "rtsp://…", "http://…" (MJPEG) or "picamera:0".
    roi: the part of each frame that is looked at, in pixels; None: all of it.
    agree: (K, N): only answer what K of the last N frames agree on; None: answer each frame for itself.
    realtime: play a video file at its own rate; frames are dropped as from a camera.
    settings: frame size, rate and pixel format that a camera is asked for.
    seconds: stop after so long; None: when the video ends, or never.
    annotate: a folder for a picture of each frame with its answer.
    tell: called with each line that a person should read about the source.
    The others are as for `limiar.scan`.

    From a camera the latest frame is answered; from a video file, every frame. The process that captures is forked from this
    one: call this before you start threads that hold locks. Raises BundleError, RuntimeUnavailable, StoreError, OutputError,
    SourceError (the camera cannot be opened, gives no new frame, or repeats one), at once or while iterating.
    """
    address = find_source(source)
    session = open_session(
        bundle, file=file, runtime=runtime, threads=threads, refer_below=refer_below, outside=outside, keys=keys
    )
    opening = functools.partial(open_source, address, realtime, settings or Settings())
    with ExitStack() as opened:
        memory = SharedMemory()
        opened.callback(memory.close)
        answering = opened.enter_context(Answering(session.model, memory))
        capture = opened.enter_context(Capture(opening, View(address.name, realtime, roi), tell, memory.map))
        store = opened.enter_context(Store(Path(db) if db else default_path()))
        origin = session.origin(answering.loaded.runtime, answering.loaded.version)
        store.use(session.key(origin), origin.verified)
        if annotate:
            with writable(Path(annotate)):
                Path(annotate).mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + (seconds or float("inf"))
        return Watch(
            session,
            origin,
            answering,
            capture,
            store,
            address.name,
            voting=Voting(*agree) if agree else None,
            annotate=Path(annotate) if annotate else None,
            stop=lambda: stop() or time.monotonic() >= end,
            opened=opened.pop_all(),
        )


class Watch(Running):
    """A running camera."""

    def __init__(
        self,
        session: Session,
        origin: Origin,
        answering: Answering,
        capture: Capture,
        store: Store,
        source: str,
        *,
        voting: Voting | None = None,
        annotate: Path | None,
        stop: Callable[[], bool],
        opened: ExitStack,
    ) -> None:
        super().__init__(session, origin, store, stop, opened)
        self.source = source  # its name, without a password
        self._answering = answering
        self._capture = capture
        self._boot_id = boot_id()
        self._voting = voting
        self._annotate = annotate

    @property
    def loss(self) -> str | None:
        """In words, what could not be read of a video file, once its end is reached."""
        return self._capture.loss

    def _kept_lines(self) -> Iterator[list[Line]]:
        before = self._store.last_sequence(self.source, self._boot_id)
        for frame in self._capture.frames():
            yield self._kept(frame, before + frame.sequence) if frame else []

    def _kept(self, frame: Frame, sequence: int) -> list[Line]:
        """Answers a frame and adds the answer to the store; returns the line to report once it is committed.

        There is none if too few frames agree.
        """
        taken = iso(frame.taken_ns)
        about = {"source": self.source, "sequence": sequence, "taken": taken, "dropped": frame.dropped, "stored": False}
        about |= {} if frame.place is None else msgspec.structs.asdict(frame.place)
        about["doubtful"] = frame.doubtful
        try:
            answer = self._answering.answer(frame, self._picture(taken, sequence))
        except ImageError as error:
            if self._voting:
                self._voting.gap()
            return [refused(self.origin, error.code, error.message, utc_now(), **about)]
        agreement = None
        if self._voting and not frame.doubtful:
            vote = self._voting.add(answer, sequence, frame.place.video_s if frame.place else time.monotonic())
            if vote is None or vote.decision != answer.decision:
                return []
            agreement = Agreement(vote.frames, vote.agreeing, vote.spread)
            about |= msgspec.structs.asdict(agreement)
        elif self._voting:
            self._voting.gap()
        kept = msgspec.structs.replace(answer, time=taken)
        self._store.add_frame(self.source, self._boot_id, sequence, frame.dropped, kept, agreement)
        return [answered(self.origin, answer, answer.decision, **about)]

    def _picture(self, taken: str, sequence: int) -> Path | None:
        """DIR/SOURCE-TIME-SEQUENCE.png, if pictures are asked for."""
        if self._annotate is None:
            return None
        kind, _, rest = self.source.partition(":")
        name = rest.rpartition("/")[2] if kind in ("video", "v4l2") else self.source
        source = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[-100:]  # a name may have 255 bytes
        time_digits = re.sub(r"[^0-9TZ]", "", taken)
        return self._annotate / f"{source}-{time_digits}-{sequence:06}.png"
