"""One bundle at work: the processes that answer with it, and the loop that keeps and commits what they say."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from limiar.edge_app.bundle.signature import read_keys
from limiar.edge_app.errors import ModelUnfit
from limiar.edge_app.health.log import Log
from limiar.edge_app.health.meters import Meters
from limiar.edge_app.inference.child import try_model
from limiar.edge_app.inference.session import Session, open_session
from limiar.edge_app.output.lines import Origin
from limiar.edge_app.scan.fork import fork_worker
from limiar.edge_app.scan.messages import Job, Outcome
from limiar.edge_app.scan.pool import Workers
from limiar.edge_app.service.cameras import Cameras
from limiar.edge_app.service.chosen import Chosen
from limiar.edge_app.service.config import Config
from limiar.edge_app.service.drifting import Drifting
from limiar.edge_app.service.folders import Folders
from limiar.edge_app.service.tries import StoredTries
from limiar.edge_app.store.writer import Store

_TICK_S = 0.05  # between two turns, where no pool gives them


class Serving:
    """A bundle, with workers for the folders and a process for each camera. Use as a context manager: leaving ends them."""

    def __init__(
        self,
        config: Config,
        chosen: Chosen,
        store: Store,
        state: Path,
        meters: Meters,
        log: Log,
        accepts: Callable[[], bool],
    ) -> None:
        """accepts: whether there is space for new work."""
        self._accepts = accepts
        self._config = config
        self._chosen = chosen
        self._store = store
        self._state = state
        self._meters = meters
        self._log = log
        self._opened = ExitStack()
        self.folders: Folders | None = None

    def __enter__(self) -> "Serving":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def start(self, turn: Callable[[], None]) -> tuple[Session, Origin]:
        """Loads the model and starts everything. turn: called at least every 50 ms, but for golden images that must be run.

        Raises BundleError, RuntimeUnavailable and StoreError.
        """
        answer = self._config.answer
        # Workers load numpy and a runtime while this process opens the bundle.
        processes = [fork_worker() for _ in range(answer.workers if self._config.folder else 0)]
        tries = StoredTries(self._store)
        self._pool = self._opened.enter_context(Workers(processes, tries))
        session = open_session(
            self._chosen.path,
            file=answer.file,
            runtime=answer.runtime,
            threads=answer.threads,
            workers=answer.workers,
            refer_below=answer.refer_below,
            outside=answer.outside,
            measure=bool(self._config.folder),
            tiles=answer.tiling,
            keys=read_keys(*answer.keys, revoked=answer.revoked) if answer.keys else None,
        )

        def loading() -> None:
            turn()
            if self._chosen.late:
                raise ModelUnfit("E-RUNTIME-START", f"{session.model.name} takes too long to load for a bundle on trial")

        plain_uids = self._config.dicom.uids == "plain"
        job = Job(session.model, follow=False, annotate=None, plain_uids=plain_uids)
        loaded = self._pool.start(job, loading) if processes else try_model(session.model)
        origin = session.origin(loaded.runtime, loaded.version)
        self._store.use(session.key(origin), origin.verified, session.model.tiling)
        self._store.commit()
        if self._config.folder:
            drifting = Drifting(session.reference(), self._store, self._meters, self._log)
            beside = (tries, self._meters, self._log, drifting, self._chosen.failed)
            folders = Folders(self._config.folder, session, self._store, *beside)
            folders.accepts = self._accepts
            self.folders = self._opened.enter_context(folders)
        cameras = Cameras(self._config.camera, session.model, self._store, self._state, self._meters, self._log)
        cameras.accepts = self._accepts
        self._cameras = self._opened.enter_context(cameras)
        return session, origin

    def run(self) -> Iterator[int]:
        """The number of scans that were finished, at least every 50 ms; after it was given, what is due is committed.

        Raises StoreError, RuntimeUnavailable, and FellBack.
        """
        for outcomes in self._outcomes():
            scans = 0
            if self.folders:
                scans = sum(self.folders.keep(path, outcome) for path, outcome in outcomes)
                self.folders.turn()
            scans += self._cameras.turn()
            yield scans
            unsettled = self.folders is not None and self.folders.unsettled
            if self._store.commit_due() or (unsettled and not self._store.changed):
                self.commit()

    def tell(self) -> None:
        """Tells the meters what is not told when it happens."""
        if self.folders:
            self.folders.tell()
            for number, (pid, ready, restarts) in enumerate(self._pool.processes(), 1):
                self._meters.process(f"classifier {number}", "running" if ready else "starting", pid, restarts)

    def finish(self) -> None:
        """Before an end in order: files in hand are given back, and what was answered is committed. Raises StoreError."""
        if self.folders:
            self.folders.give_back()
        self.commit()

    def commit(self) -> None:
        """Puts everything on the disk that is kept, and has answered files moved. Raises StoreError."""
        if self.folders:
            self.folders.commit()
        else:
            self._store.commit()

    def _outcomes(self) -> Iterator[list[tuple[bytes, Outcome]]]:
        if self.folders:
            yield from self._pool.run(self.folders.paths(), self.folders.known)
        while True:
            yield []
            time.sleep(_TICK_S)
