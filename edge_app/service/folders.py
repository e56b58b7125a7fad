"""Watched folders: a complete file goes to a worker, its answer is kept, and only after the commit the file is moved."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator

from limiar.edge_app import APP
from limiar.edge_app.answer import Answer
from limiar.edge_app.errors import ImageError, StoreError
from limiar.edge_app.health.log import Log
from limiar.edge_app.health.meters import Meters
from limiar.edge_app.image.folder import Choice
from limiar.edge_app.inference.session import Session
from limiar.edge_app.intake.messages import Beat, Event, Fine, Quarantined, Ready, Settled, Trouble, WatchedFolder
from limiar.edge_app.intake.watcher import Watcher
from limiar.edge_app.scan.messages import Answered, Frames, Outcome, Refused
from limiar.edge_app.service.config import FolderSection
from limiar.edge_app.service.drifting import Drifting
from limiar.edge_app.service.tries import MOST, StoredTries
from limiar.edge_app.store.writer import Refusal, Store
from limiar.edge_app.system.clock import utc_now

_BATCH = 256  # files that are given to a worker at once, at most
_GONE = "E-IMAGE-MISSING"  # the file went away before it was read
_NOT_ASSESSABLE = frozenset({"E-IMAGE-UNASSESSABLE", "E-IMAGE-OUTSIDE", "E-TILES-NONE"})
_LOST = frozenset({"E-IMAGE-CRASH", "E-IMAGE-TIMEOUT"})  # cost a worker


class FellBack(Exception):
    """A bundle on trial lost a worker over an image. The one before is current again: it shall say whether it is the image."""


class Folders:
    """All watched folders of a service. Use as a context manager: leaving ends the processes that look at them."""

    def __init__(
        self,
        sections: tuple[FolderSection, ...],
        session: Session,
        store: Store,
        tries: StoredTries,
        meters: Meters,
        log: Log,
        drifting: Drifting,
        fall_back: Callable[[str], bool],
    ) -> None:
        """fall_back: goes back from a bundle on trial, if there is one to go back to. Raises StoreError."""
        self._session = session
        self._store = store
        self._meters = meters
        self._log = log
        self._drifting = drifting
        self._fall_back = fall_back
        self._tries = tries
        self._sources = [one.source for one in sections]
        self._watcher = Watcher([_watched(one) for one in sections])
        self._waiting: deque[Ready] = deque()
        self._damaged: set[bytes] = set()  # images whose answer in the store is damaged
        self._in_hand: dict[bytes, Ready] = {}
        self._settled: list[tuple[Ready, Quarantined | None]] = []  # told to the watcher after the commit
        self.accepts: Callable[[], bool] = lambda: True  # whether there is room for new work
        self.progress_s = time.monotonic()  # when something was finished, or nothing was in hand

    def __enter__(self) -> "Folders":
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watcher.end()

    def paths(self) -> Iterator[bytes | None]:
        """What workers are given. None: nothing for now. Raises StoreError."""
        while True:
            for ready in self._next() if self.accepts() else []:
                self._in_hand[ready.path] = ready
                yield ready.path
            yield None

    def _next(self) -> list[Ready]:
        """The next files: several, or one alone that cost a worker before. One that did so too often is refused here."""
        batch: list[Ready] = []
        while self._waiting and len(batch) < _BATCH:
            tries = self._tries.of(self._waiting[0].path)
            if tries and batch:
                break
            ready = self._waiting.popleft()
            earlier = self._store.refusal(ready.identity)
            if earlier and earlier.code in _LOST:  # the service ended before the file was moved
                self._tries.ended(ready.path)
                self._put_aside(ready, earlier)
                continue
            if tries >= MOST:
                message = f"ended what tried to answer it, {tries} times: set the file aside and report it"
                self._refuse(ready, b"", "E-IMAGE-CRASH", message)
                continue
            batch.append(ready)
            if tries:
                break
        return batch

    def known(self, images: list[bytes]) -> list[list[Answer]]:
        """The store's answers for each file, by its sha256. Raises StoreError."""
        kept = self._store.kept(images)
        return [self._earlier(image) if image in kept else [] for image in images]

    def _earlier(self, image: bytes) -> list[Answer]:
        """The store's answers; none if one is damaged: then the image is answered again."""
        try:
            return self._store.find_all(image)
        except StoreError as error:
            if error.code != "E-STORE-DAMAGED":
                raise
            self._log.error(error.code, error.message)
            self._damaged.add(image)
            return []

    def keep(self, path: bytes, outcome: Outcome) -> bool:
        """Keeps what became of a file; returns whether that was a scan: an answer, new or known. Raises StoreError.

        A file of several frames is refused if all of them are.
        """
        ready = self._in_hand.pop(path)
        self.progress_s = time.monotonic()
        parts = outcome.frames if isinstance(outcome, Frames) else [outcome]
        refused = [refusal for part in parts if (refusal := self._answered(ready, part))]
        self._damaged.discard(outcome.sha256)
        if len(refused) == len(parts):
            return self._refused(ready, refused[0])
        for refusal in refused:
            self._meters.refused(ready.source, refusal.code)
        self._tries.ended(path)
        self._settled.append((ready, None))
        return True

    def _answered(self, ready: Ready, outcome: Answered | Refused) -> Refused | None:
        """Keeps an answer; returns why there is none."""
        if isinstance(outcome, Refused):
            return outcome
        answer = outcome.answer
        try:
            decision = self._session.model.rule.decided(answer).decision
        except ImageError as error:
            return Refused(outcome.sha256, error.code, error.message)
        replace = outcome.sha256 in self._damaged
        new = not outcome.stored and self._store.add(outcome.sha256, ready.path, answer, source=ready.source, replace=replace)
        if new:
            self._meters.answered(ready.source, decision, answer.ms.infer, self._store.sequence)
            self._drifting.answered(decision, answer)
        return None

    def _refused(self, ready: Ready, outcome: Refused) -> bool:
        if outcome.code == _GONE:
            self._tries.ended(ready.path)
            self._watcher.left(ready.path)
            return False
        if outcome.code in _LOST and self._fall_back(why := f"an image cost a worker ({outcome.code})"):
            for path in self._in_hand:  # it was perhaps not the image
                self._tries.ended(path)
            self._tries.ended(ready.path)
            raise FellBack(why)
        self._refuse(ready, outcome.sha256, outcome.code, outcome.message)
        return outcome.code not in _LOST

    def _refuse(self, ready: Ready, sha256: bytes, code: str, message: str) -> None:
        tries = self._tries.of(ready.path)
        refusal = Refusal(ready.source, ready.path, ready.identity, sha256 or None, code, message, tries)
        self._store.refuse(refusal)
        self._meters.refused(ready.source, code)
        if code in _NOT_ASSESSABLE:
            self._meters.not_assessable()
        self._tries.ended(ready.path)
        self._put_aside(ready, refusal)

    def _put_aside(self, ready: Ready, refusal: Refusal) -> None:
        reason = Quarantined(
            code=refusal.code,
            message=refusal.message,
            source=ready.source,
            sha256=refusal.image_sha256.hex() if refusal.image_sha256 else None,
            tries=refusal.tries,
            time=utc_now(),
            bundle=self._session.bundle.sha256,
            app=APP,
        )
        self._settled.append((ready, reason))

    def commit(self) -> None:
        """Puts everything on the disk; then the files may be moved. Raises StoreError."""
        self._store.commit()
        for ready, reason in self._settled:
            if reason is None:
                self._watcher.done(ready.path)
            else:
                self._watcher.quarantined(ready.path, reason)
        self._settled.clear()

    @property
    def unsettled(self) -> bool:
        """Whether files wait for `commit` to be moved."""
        return bool(self._settled)

    def give_back(self) -> None:
        """Files in hand will be answered after another start. Raises StoreError."""
        self._tries.given_back()

    def turn(self) -> None:
        """Takes what the watcher has said."""
        for event in self._watcher.turn():
            self._heard(event)
        if not self._in_hand:
            self.progress_s = time.monotonic()

    def tell(self) -> None:
        """Tells the meters how many complete files of each source wait, and which processes look at the folders."""
        for source, pid, restarts in self._watcher.processes():
            self._meters.process(f"folder {source}", "running" if pid else "waiting", pid, restarts)
        waiting = Counter(ready.source for ready in (*self._waiting, *self._in_hand.values()))
        for source in self._sources:
            self._meters.queue(waiting[source], source)

    def _heard(self, event: Event) -> None:
        match event:
            case Ready() as ready:
                self._waiting.append(ready)
            case Trouble(source, code, message):
                self._log.state(f"folder {source}", "error", code, message)
                self._meters.source_state(source, "failed", code, message)
            case Fine(source):
                self._log.over(f"folder {source}", f"the folder {source} can be watched again")
                self._meters.source_state(source, "ok")
            case Beat(source, _, _, passed):
                self._meters.passed_over(source, passed)
            case Settled():
                pass


def _watched(section: FolderSection) -> WatchedFolder:
    return WatchedFolder(
        source=section.source,
        path=section.path.encode("utf-8", "surrogateescape"),
        choice=Choice(section.include, section.exclude, False),
        done=section.done,
        quarantine=section.quarantine,
    )
