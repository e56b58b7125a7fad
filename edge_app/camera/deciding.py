"""The process of a camera of the service: it answers frames, lets K of N agree, and says what they decide.

It captures and answers in processes of its own, as `limiar camera` does, and loads no numpy. A camera that is lost is opened
again and again; the model stays loaded meanwhile.
"""

import contextlib
import functools
import re
import time
from collections import Counter
from pathlib import Path

import msgspec

from limiar.edge_app.bundle.manifest import REFER
from limiar.edge_app.camera.answering import Answering
from limiar.edge_app.camera.capture import Capture
from limiar.edge_app.camera.decisions import Beat, Decided, Job, Kept, Note, Said, Trouble
from limiar.edge_app.camera.frame import Frame, SharedMemory
from limiar.edge_app.camera.messages import View
from limiar.edge_app.camera.source import Settings, find_source, open_source
from limiar.edge_app.camera.voting import Vote, Voting
from limiar.edge_app.errors import ImageError, LimiarError, OutputError, SourceError
from limiar.edge_app.system.channel import WorkerEnd
from limiar.edge_app.system.clock import iso

BEAT_S = 1.0
_PATIENCE_S = 4.0  # for a frame: the loss of a camera is told within 5 s of the last one
_AGAIN_S = (0.5, 1.0, 2.0)  # before a lost camera is opened again, and the last of these from then on: it is back within 10 s


def decide(job: Job, parent: WorkerEnd) -> None:
    """The process's life; it ends when the service hangs up, or the model cannot be loaded."""
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        said = _Voice(job, parent)
        try:
            _Deciding(job, said).run()
        except LimiarError as error:  # the model's: the service starts this process again, or falls back
            said.trouble(error)


class _Voice:
    """What this process says, with a beat every second even while it waits."""

    def __init__(self, job: Job, parent: WorkerEnd) -> None:
        self._source = job.settings.name
        self._parent = parent
        self.sequence = job.after
        self.watching = False
        self.frames = self.undecided = self.doubtful = self.dropped = 0
        self.refused: Counter[str] = Counter()
        self._beat_s = 0.0
        self._troubles: dict[str, str] = {}

    def turn(self) -> None:
        """To be called often. Raises EOFError if the service has hung up."""
        if self._parent.waits():
            self._parent.receive()  # it says nothing: this is the end
        if time.monotonic() - self._beat_s >= BEAT_S:
            self.beat()

    def beat(self) -> None:
        counts = (self.frames, self.undecided, self.doubtful, self.dropped, dict(self.refused))
        self.say(Beat(self._source, self.sequence, self.watching, *counts))
        self._beat_s = time.monotonic()
        self.frames = self.undecided = self.doubtful = self.dropped = 0
        self.refused.clear()

    def note(self, message: str) -> None:
        self.say(Note(self._source, message))

    def trouble(self, error: LimiarError) -> None:
        """Says it, unless it was the last that was said of its kind."""
        kind = "frames" if isinstance(error, OutputError) else "camera"
        if self._troubles.get(kind) != error.message:
            self._troubles[kind] = error.message
            self.say(Trouble(self._source, error.code, error.message))

    def over(self, kind: str) -> None:
        self._troubles.pop(kind, None)

    def say(self, said: Said) -> None:
        self._parent.send(msgspec.msgpack.encode(said))


class _Deciding:
    def __init__(self, job: Job, voice: _Voice) -> None:
        self._settings = job.settings
        self._model = job.model
        self._folder = Path(job.folder)
        self._voice = voice
        self._voting = Voting(job.settings.agree, job.settings.of)
        self._stored: str | None = None  # the decision that was stored last
        self._due_s = 0.0  # when it may be stored again
        self._dropped = 0  # frames since

    def run(self) -> None:
        """Raises LimiarError if no frame can be answered any more."""
        memory, losses = SharedMemory(), 0
        with Answering(self._model, memory, self._voice.turn) as answering:
            while True:
                losses = 0 if self._watch(answering, memory) else losses + 1
                until = time.monotonic() + _AGAIN_S[min(losses, len(_AGAIN_S) - 1)]
                while time.monotonic() < until:
                    self._voice.turn()
                    time.sleep(0.05)

    def _watch(self, answering: Answering, memory: SharedMemory) -> bool:
        """Answers the camera's frames until it fails, and says so; returns whether there were any."""
        asked, before = self._settings, self._voice.sequence
        address = find_source(asked.source)
        opening = functools.partial(open_source, address, True, Settings(asked.size, asked.rate_hz, asked.pixel_format))
        view = View(address.name, realtime=True, roi=asked.roi, patience_s=_PATIENCE_S)
        with Capture(opening, view, self._voice.note, memory.map) as capture:
            try:
                for frame in capture.frames():
                    if frame:
                        self._voice.sequence = before + frame.sequence
                        self._answer(frame, answering)
                    self._voice.turn()
                error = SourceError("E-SOURCE-ENDED", f"{address.name} has ended: it is played again")
            except SourceError as failure:
                error = failure
            # Before the capture process is ended, which takes half a second if its camera hangs.
            watched = self._voice.watching
            self._lost(error)
            return watched

    def _lost(self, error: SourceError) -> None:
        self._voting.gap()
        self._voice.watching = False
        self._voice.trouble(error)
        self._voice.beat()

    def _answer(self, frame: Frame, answering: Answering) -> None:
        voice = self._voice
        if not voice.watching:
            voice.watching = True
            voice.over("camera")
            voice.beat()
        voice.frames += 1
        voice.dropped += frame.dropped
        self._dropped += frame.dropped
        try:
            answer = answering.answer(frame)
        except ImageError as error:
            voice.refused[error.code] += 1
            self._voting.gap()
            return
        if frame.doubtful:
            voice.doubtful += 1
            self._voting.gap()
            return
        vote = self._voting.add(answer, voice.sequence, time.monotonic())
        if vote is None or vote.decision != answer.decision:
            voice.undecided += 1
            return
        changed = vote.decision != self._stored
        if not changed and time.monotonic() < self._due_s:
            return
        taken = iso(frame.taken_ns)
        kept = self._kept(frame, answering, taken) if self._keeps(vote, changed) else None
        answer = msgspec.structs.replace(answer, time=taken)
        voice.say(Decided(self._settings.name, voice.sequence, taken, self._dropped, answer, vote, changed, kept))
        self._stored, self._due_s, self._dropped = vote.decision, time.monotonic() + self._settings.every_s, 0

    def _keeps(self, vote: Vote, changed: bool) -> bool:
        asked = self._settings
        return asked.keep != "off" and {"all": True, "refer": vote.decision == REFER, "changed": changed}[asked.keep_what]

    def _kept(self, frame: Frame, answering: Answering, taken: str) -> Kept | None:
        """Writes a frame before its decision is sent: a row of the store never names a file that is not there."""
        stem = f"{re.sub('[^0-9TZ]', '', taken)}-{self._voice.sequence:06}"
        try:
            kept = answering.keep(frame, self._folder, stem, self._settings.keep)
        except OutputError as error:
            self._voice.trouble(error)
            return None
        self._voice.over("frames")
        return Kept(f"{self._folder.name}/{kept.name}", kept.sha256, kept.size)
