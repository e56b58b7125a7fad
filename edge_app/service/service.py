"""`limiar run`: one process keeps the store and supervises the others. It has no threads, no numpy and no decoder.

main ─┬─ intake: one for each watched folder
      ├─ workers: answer files
      └─ one for each camera, with a process that captures and one that answers

The loop over the workers' outcomes gives a turn at least every 50 ms; in a turn everything else is done that does not wait.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from limiar.edge_app.control import SOCKET
from limiar.edge_app.errors import LimiarError, StoreError, printable
from limiar.edge_app.health.clock import ClockTrust
from limiar.edge_app.health.log import Log
from limiar.edge_app.health.meters import Meters
from limiar.edge_app.health.sensors import Sensors
from limiar.edge_app.health.space import Space
from limiar.edge_app.health.status import Status
from limiar.edge_app.inference.session import Session
from limiar.edge_app.output.lines import Origin
from limiar.edge_app.service.backoff import Backoff
from limiar.edge_app.service.beside import Beside
from limiar.edge_app.service.chosen import Chosen
from limiar.edge_app.service.config import Config, config_sha256, read_config
from limiar.edge_app.service.folders import FellBack
from limiar.edge_app.service.questions import Questions
from limiar.edge_app.service.serving import Serving
from limiar.edge_app.service.signals import Signals
from limiar.edge_app.service.started import audit_start, bundle_status
from limiar.edge_app.service.status import with_fleet
from limiar.edge_app.service.sticks import StickWatch
from limiar.edge_app.service.store_upkeep import StoreUpkeep
from limiar.edge_app.store.snapshot import restore
from limiar.edge_app.store.state import default_path, state_folder
from limiar.edge_app.store.writer import Store
from limiar.edge_app.system import notify
from limiar.edge_app.system.local_socket import Listener

_TICK_S = 0.05
_CHECKPOINT = 1000  # entries, after which the audit log covers them
_DISK = frozenset({"E-STORE-FULL", "E-STORE-WRITE"})  # there is no space, or the disk cannot be written
_STUCK_S = 90.0  # files are in hand, and nothing is finished: the system's watchdog starts the service again


class Over(Exception):
    """Something asks the service to end, or to start with another configuration or bundle."""


def run_service(path: Path) -> int:
    """Answers folders and cameras until SIGTERM or Ctrl-C; returns the exit status.

    Raises LimiarError if the configuration cannot be used, or another service has the state folder. What fails later is logged
    and tried again.
    """
    config = read_config(path)
    with Signals() as signals:
        return Service(path, config, state_folder(), signals).run()


class Service:
    """A running service."""

    def __init__(self, path: Path, config: Config, state: Path, signals: Signals) -> None:
        self._path, self._config, self._state, self._signals = path, config, state, signals
        self._questions = Questions(self._status)
        self._serving: Serving | None = None
        self._beside: Beside | None = None
        self._upkeep: StoreUpkeep | None = None
        self._sticks: StickWatch | None = None

    def run(self) -> int:
        """Until a signal; returns the exit status. Raises LimiarError."""
        self._state.mkdir(parents=True, exist_ok=True)
        with _only_one(self._state), Listener(self._state / SOCKET, self._questions.answer) as self._listener:
            self._configure()
            backoff = Backoff()
            while self._signals.ended is None:
                backoff.started()
                if self._attempt():
                    continue
                self._wait(backoff.failed())
            notify.stopping()
            self._close()
            return self._signals.status

    def _configure(self) -> None:
        """Makes what depends on the configuration."""
        config = self._config
        self._log = Log(config.log.level)
        self._clock = ClockTrust()
        self._space = Space(self._state, int(config.health.free_megabytes * 1e6))
        self._sensors = Sensors(default_path(), self._space, self._clock)
        kinds: dict[str, Literal["folder", "camera"]] = {one.source: "folder" for one in config.folder}
        kinds |= {one.name: "camera" for one in config.camera}
        self._meters = Meters(kinds, self._sensors)
        self._close()
        self._upkeep = StoreUpkeep(config.keep.results, lambda: self._clock.trusted)
        self._sticks = StickWatch(self._state, config.answer, config.update, self._log) if config.update.stick else None
        self._beside = Beside(config, self._state, lambda: self._clock.trusted, self._status, self._log)

    def _close(self) -> None:
        """Ends what runs beside the answers."""
        if self._beside and self._upkeep:
            self._beside.close()
            self._upkeep.close()
        if self._sticks:
            self._sticks.close()

    def _attempt(self) -> bool:
        """Serves until something ends it; returns whether another start is due at once."""
        try:
            with self._open_store() as store:
                try:
                    self._serve(store)
                finally:
                    self._questions.store = self._serving = None
        except Over:
            return True
        except StoreError as error:
            if error.code in _DISK:
                self._space.met(error)
            self._troubled(error.code, error.message)
        except (LimiarError, OSError) as error:
            code = error.code if isinstance(error, LimiarError) else "E-SERVICE-START"
            message = error.message if isinstance(error, LimiarError) else str(error)
            self._troubled(code, message)
        return False

    def _troubled(self, code: str, message: str) -> None:
        self._log.state("service", "error", code, message)
        self._meters.trouble(code, message)

    def _open_store(self) -> Store:
        """The store; if it is damaged, the last copy of it. Raises StoreError."""
        try:
            return Store(default_path(), run="run")
        except StoreError as error:
            if error.code != "E-STORE-DAMAGED":
                raise
            self._log.error(error.code, f"{error.message}; {restore(default_path())}")
            return Store(default_path(), run="run")

    def _serve(self, store: Store) -> None:
        """With one bundle. Raises Over, StoreError, and what a start may raise."""
        store.outbox.use(bool(self._config.fleet.broker))
        store.commit()
        self._questions.store, self._questions.commit = store, store.commit
        chosen = Chosen(self._config, self._state)
        if chosen.fell_back:
            self._fell_back(store, chosen.fell_back)
        try:
            with Serving(self._config, chosen, store, self._state, self._meters, self._log, self._accepts) as serving:
                self._serving = serving
                session, origin = serving.start(self._turn)
                self._questions.commit = serving.commit
                self._started(store, session, origin, chosen)
                serving.tell()  # processes are counted from here
                try:
                    self._loop(store, serving, session, origin, chosen)
                except Over:
                    serving.finish()
                    chosen.ended()
                    store.audit("stop", {"signal": str(self._signals.ended or "reload")})
                    store.commit()
                    raise
        except FellBack as error:
            self._fell_back(store, str(error))
            raise Over from None
        except LimiarError as error:
            if isinstance(error, StoreError) or not chosen.failed(str(error)):
                raise
            self._fell_back(store, str(error))
            raise Over from None

    def _loop(self, store: Store, serving: Serving, session: Session, origin: Origin, chosen: Chosen) -> None:
        covered = store.sequence
        for scans in serving.run():
            if chosen.scanned(scans):
                store.audit("good", {"bundle": origin.bundle})
                self._meters.bundle(bundle_status(session, origin, chosen))
                self._log.info("I-BUNDLE-GOOD", "the new bundle is good: no older one is accepted any more")
            assert self._upkeep
            self._upkeep.turn(store)
            if scans:
                self._sensors.committed(store.sequence)
            if scans and store.sequence - covered >= _CHECKPOINT:
                store.audit("checkpoint", {})
                covered = store.sequence
            self._turn()

    def _turn(self) -> None:
        """What does not wait: questions, signals, sensors, the watchdog. Raises Over, and StoreError."""
        self._listener.turn()
        if (jump := self._sensors.turn()) and self._questions.store:
            detail = {"seconds": f"{jump.seconds:.3f}", "before": jump.before, "after": jump.after, "times": str(jump.times)}
            self._questions.store.audit("clock", detail)
            self._log.warning("W-CLOCK-JUMP", f"the clock jumped by {jump.seconds:+.1f} s; nothing is ordered by it")
        self._feed()
        if self._sticks:
            self._sticks.turn()
        assert self._beside
        for one in self._beside.turn():
            if self._questions.store:
                detail = {"place": one.place, "files": str(one.removed.files), "bytes": str(one.removed.bytes)}
                self._questions.store.audit("delete", detail)
        if self._signals.ended is not None:
            raise Over
        if self._questions.reload or self._signals.hung_up:
            wanted, self._questions.reload = self._questions.reload, False
            self._signals.hung_up = False
            if self._reload() or wanted:
                raise Over

    def _feed(self) -> None:
        """Tells the system's watchdog that work is finished, or that there is none."""
        folders = self._serving.folders if self._serving else None
        if not folders or time.monotonic() - folders.progress_s < _STUCK_S:
            notify.watchdog()
        if self._space.full:
            self._log.state("disk", "error", self._space.code, f"{self._space.message}: new work waits until there is space")
        else:
            self._log.over("disk", "there is space again")

    def _started(self, store: Store, session: Session, origin: Origin, chosen: Chosen) -> None:
        """Says that the service answers."""
        self._meters.bundle(bundle_status(session, origin, chosen))
        audit_start(store, session, origin, config_sha256(self._path))
        store.commit()
        self._log.over("service", "the service answers again")
        self._meters.trouble()
        self._log.info("I-SERVICE-START", session.describe(origin))
        notify.ready(session.describe(origin))

    def _fell_back(self, store: Store, why: str) -> None:
        store.audit("fall-back", {"why": why})
        store.commit()
        self._log.error("E-UPDATE-FELL-BACK", f"the new bundle failed, and the one before it answers again: {why}")

    def _reload(self) -> bool:
        """Reads the configuration again; returns whether it can be used. One that cannot changes nothing."""
        notify.reloading()
        try:
            config = read_config(self._path)
        except LimiarError as error:
            self._log.error(error.code, f"{error.message}; the service goes on with what it had")
            notify.ready("the configuration cannot be used; the service goes on with the one before")
            return False
        if config != self._config:
            self._config = config
            self._configure()
        return True

    def _status(self) -> Status:
        if self._serving:
            self._serving.tell()
        status = self._meters.snapshot()
        uplink = self._questions.store.outbox.uplink() if self._questions.store else None
        return with_fleet(status, uplink, self._questions.uplink) if uplink else status

    def _accepts(self) -> bool:
        """Whether there is space for new work."""
        return not self._space.full

    def _wait(self, seconds: float) -> None:
        """Before the next attempt; questions are answered meanwhile. After a full disk, until there is space."""
        until = time.monotonic() + seconds
        was_full = self._space.full
        while time.monotonic() < until and not (was_full and not self._space.full):
            try:
                self._turn()
            except Over:
                return
            time.sleep(_TICK_S)


@contextmanager
def _only_one(state: Path) -> Iterator[None]:
    """Raises LimiarError E-SERVICE-BUSY if another service has the state folder."""
    descriptor = os.open(state / "service.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        met = f"a service already runs with the state folder {printable(str(state))}"
        raise LimiarError("E-SERVICE-BUSY", f"{met}: stop it first, or set LIMIAR_STATE to another folder") from None
    finally:
        os.close(descriptor)
