"""The loop of `limiar scan`: paths -> workers -> store -> lines that may be reported."""

from collections.abc import Callable, Iterable, Iterator

from msgspec import UNSET, Struct

from limiar.edge_app.answer import Answer
from limiar.edge_app.bundle.manifest import REFUSED
from limiar.edge_app.errors import ImageError
from limiar.edge_app.inference.rule import Rule
from limiar.edge_app.output.lines import AnswerLine, Line, Origin, RefusedLine, path_fields
from limiar.edge_app.scan.messages import Answered, Outcome, Refused
from limiar.edge_app.scan.pool import Workers
from limiar.edge_app.store.writer import Store


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
