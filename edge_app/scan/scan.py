"""The loop of `limiar scan`: paths -> workers -> store -> lines that may be reported."""

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
from msgspec import UNSET, Struct, UnsetType

from limiar.edge_app.answer import Answer, Timing
from limiar.edge_app.bundle.manifest import REFUSED
from limiar.edge_app.errors import ImageError
from limiar.edge_app.inference.rule import Rule
from limiar.edge_app.scan.messages import Answered, Outcome, Refused
from limiar.edge_app.scan.pool import Workers
from limiar.edge_app.store.writer import Store
from limiar.edge_app.text import for_json


class Origin(Struct, frozen=True):
    """What every line of a scan has in common."""

    bundle: str  # sha256 of the manifest
    file: str  # model file
    runtime: str  # name and version
    verified: str  # by "bundle" or "device": verified.py
    app: str


class AnswerLine(Struct, frozen=True):
    """One answered image, as JSON."""

    path: str
    path_base64: str | UnsetType
    sha256: str
    decision: str
    label: str
    confidence: float
    probabilities: dict[str, float]
    outside: tuple[str, ...] | UnsetType  # statistics in which it is unlike the training images; unset: no envelope
    trailing: str | UnsetType  # what follows the picture in its file, if anything does
    bundle: str
    file: str
    runtime: str
    verified: str
    app: str
    time: str
    stored: bool  # the database had the answer already, from an earlier scan or the same image before
    ms: Timing


class RefusedLine(Struct, frozen=True):
    """One refused image, as JSON."""

    path: str
    path_base64: str | UnsetType
    sha256: str | None  # None where it could not be read
    decision: str
    code: str
    message: str
    bundle: str
    file: str
    runtime: str
    verified: str
    app: str
    time: str
    stored: bool


Line = AnswerLine | RefusedLine


class Scan(Struct):
    """A running scan. Iterating over it gives groups of lines, each group after its commit."""

    workers: Workers
    store: Store
    paths: Iterable[bytes | None]
    origin: Origin
    rule: Rule
    enveloped: bool  # whether the bundle has an envelope
    again: bool  # infer also what the store has
    now: Callable[[], str]
    stop: Callable[[], bool]  # asked between groups; what was answered until then is kept and given

    def __iter__(self) -> Iterator[list[Line]]:
        waiting: list[Line] = []
        for outcomes in self.workers.run(self.paths, self._known):
            for path, outcome in outcomes:
                waiting.append(self._kept(path, outcome))
            if self.stop():
                break
            if self.store.commit_due() or (waiting and not self.store.changed):
                self.store.commit()
                yield waiting
                waiting = []
        self.store.commit()
        yield waiting

    def _known(self, image_sha256: bytes) -> Answer | None:
        if self.again or (answer := self.store.find(image_sha256)) is None:
            return None
        # An answer from before the store kept this is inferred again.
        return None if self.enveloped and answer.outside is None else answer

    def _kept(self, path: bytes, outcome: Outcome) -> Line:
        """Adds a new answer to the store; the line to report once it is committed."""
        if not isinstance(outcome, Answered):
            return self._refused(path, outcome, stored=False)
        answer, stored = outcome.answer, outcome.stored
        if not stored and (earlier := self._known(outcome.sha256)):
            answer, stored = earlier, True  # the same image twice, in the hands of two workers
        if not stored:
            self.store.add(outcome.sha256, path, answer)
        try:  # the store keeps what was decided then; what is reported follows the rule of this scan
            decision = self.rule.decide(answer.label, answer.confidence, answer.outside)
        except ImageError as error:
            return self._refused(path, Refused(outcome.sha256, error.code, error.message), stored)
        return AnswerLine(
            *path_fields(path),
            outcome.sha256.hex(),
            decision,
            answer.label,
            answer.confidence,
            answer.probabilities,
            UNSET if answer.outside is None else answer.outside,
            answer.trailing or UNSET,
            self.origin.bundle,
            self.origin.file,
            self.origin.runtime,
            self.origin.verified,
            answer.app,
            answer.time,
            stored,
            answer.ms,
        )

    def _refused(self, path: bytes, outcome: Refused, stored: bool) -> RefusedLine:
        sha256 = outcome.sha256.hex() or None
        met = (REFUSED, outcome.code, outcome.message)
        return RefusedLine(*path_fields(path), sha256, *met, *self._origin(), self.now(), stored)

    def _origin(self) -> tuple[str, str, str, str, str]:
        return self.origin.bundle, self.origin.file, self.origin.runtime, self.origin.verified, self.origin.app


def path_fields(path: bytes) -> tuple[str, str | UnsetType]:
    """A path for JSON: UTF-8, other bytes as \\xNN and then base64 of the whole."""
    try:
        return path.decode(), UNSET
    except UnicodeDecodeError:
        return path.decode("utf-8", "backslashreplace"), base64.b64encode(path).decode()


def json_lines(lines: Sequence[Struct]) -> bytes:
    """One JSON object a line."""
    encode = _ENCODER.encode
    return for_json(b"".join(encode(line) + b"\n" for line in lines))


_ENCODER = msgspec.json.Encoder()
