"""The bundle that is desired of this device, as the uplink sees it: a process pulls it, and what the device says is read here.

What became of it is read from the slots as often as that costs little: a bundle that is installed may still fall back.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from limiar.edge_app.errors import printable
from limiar.edge_app.fleet.fetch import Server, fetched
from limiar.edge_app.fleet.messages import Desired, Pull, Sha256
from limiar.edge_app.fleet.pull_child import FOLDER, PullJob, Said, pull
from limiar.edge_app.health.log import Log
from limiar.edge_app.install.slots import Slots
from limiar.edge_app.service.backoff import Backoff
from limiar.edge_app.service.uplink_child import UplinkJob
from limiar.edge_app.system.channel import ParentEnd
from limiar.edge_app.system.children import Child, spawn_child
from limiar.edge_app.system.files import read_bounded, write_whole

_LOOK_S = 1.0  # between two looks at the slots
_BACK = "back.json"  # in FOLDER: the roll-back that was done
_LIMIT = 1 << 10  # bytes

_SAID = msgspec.msgpack.Decoder(Said)


class _Back(Struct, frozen=True):
    """A roll-back is done once: a person who then goes forward again with `limiar rollback` is not contradicted."""

    rollout: int
    attempt: int
    bundle: Sha256


class Pulling:
    """Use `close` at the end. For the main thread alone: the kernel ends the process with the thread that started it."""

    def __init__(self, job: UplinkJob, log: Log, now: Callable[[], float] = time.monotonic, first_s: float = 1.0) -> None:
        """first_s: between the first two tries."""
        self.pull: Pull | None = None  # what the collector is told
        self._job, self._log, self._now, self._first_s = job, log, now, first_s
        self._state = Path(job.state)
        self._desired: Desired | None = None
        self._backoff = Backoff(now)
        self._running: tuple[Child, ParentEnd] | None = None
        self._look_at = 0.0
        self._over = False  # nothing more is tried for this one

    def desired(self, wanted: Desired | None) -> None:
        """What the collector desires now; None: nothing. Raises nothing."""
        if wanted == self._desired:
            return
        self.close()
        self._desired, self._over, self._backoff, self._look_at = wanted, False, Backoff(self._now), 0.0
        self.pull = None
        if wanted:
            self._set(Said("waiting", self._share()))
        else:
            self._log.over("pull", "nothing is desired any more")

    def turn(self) -> Pull | None:
        """Looks how it stands, and starts the process if something is to be done; without waiting. Raises nothing."""
        if self._desired is None:
            return None
        if self._running:
            self._hear(self._running[1])
        elif self._now() >= self._look_at:
            self._look_at = self._now() + _LOOK_S
            if found := self._reached(self._desired):
                self._set(found)
            elif not self._over and self._backoff.due:
                self._start(self._desired)
        return self.pull

    def close(self) -> None:
        """Ends the process: an installation is all or nothing."""
        if self._running:
            child, end = self._running
            self._running = None
            child.kill()
            child.join()
            end.close()

    def _hear(self, end: ParentEnd) -> None:
        try:
            for said in map(_SAID.decode, end.receive()):
                self._set(said)
                if said.state == "installed" and self._desired and self._desired.action == "back":
                    self._keep_back(self._desired)
                self._over = said.state in ("refused", "installed")
        except (EOFError, msgspec.MsgspecError):
            self.close()
            self._look_at = 0.0
            if not self._over:
                wait_s = self._backoff.failed()
                met = f"the process that pulls a bundle has ended, and is started again in {wait_s:.0f} s"
                self._set(Said("waiting", self._share(), "E-FLEET-PULL", met))

    def _reached(self, desired: Desired) -> Said | None:
        """What the slots say about it; None: something is to be done."""
        slots = Slots(self._state).status()
        current = slots.current
        if desired.action == "back":
            if current and current.bundle == desired.bundle and self._kept_back() != _back(desired):
                return None
            self._keep_back(desired)
            return Said("installed", 1.0, *self._said())
        if current and current.bundle == desired.bundle:
            return Said("installed", 1.0, *self._said())
        left = next((slot.left for slot in slots.slots if slot.bundle == desired.bundle and slot.left), "")
        if not left:
            return None
        what = f"{printable(desired.name)} {printable(desired.version)}"
        return Said("refused", 1.0, "E-UPDATE-LEFT", f"{what} was installed, and left ({left})")

    def _said(self) -> tuple[str, str]:
        """What the process said at the end of an installation that is still current."""
        return (self.pull.code, self.pull.message) if self.pull and self.pull.state == "installed" else ("", "")

    def _start(self, desired: Desired) -> None:
        self._backoff.started()
        fleet = self._job.fleet
        job = PullJob(
            desired=desired,
            server=Server(fleet.bundles, fleet.authority, fleet.certificate, fleet.key),
            state=os.fsencode(self._state),
            keys=self._job.keys,
            revoked=self._job.revoked,
            file=self._job.file,
            runtime=self._job.runtime,
            first_s=self._first_s,
        )
        try:
            self._running = spawn_child(pull)
        except OSError as error:
            self._backoff.failed()
            self._set(Said("waiting", self._share(), "E-MACHINE-LIMIT", f"no process can be started: {error.strerror}"))
            return
        self._running[1].send(msgspec.msgpack.encode(job))

    def _share(self) -> float:
        if self._desired is None or self._desired.bytes == 0:
            return 0.0
        return min(1.0, fetched(self._state / FOLDER, self._desired.archive) / self._desired.bytes)

    def _set(self, said: Said) -> None:
        desired = self._desired
        assert desired
        new = Pull(
            rollout=desired.rollout,
            bundle=desired.bundle,
            archive=desired.archive,
            state=said.state,
            share=round(said.share, 3),
            code=said.code,
            message=said.message,
            attempt=desired.attempt,
        )
        before, self.pull = self.pull, new
        what = f"{printable(desired.name)} {printable(desired.version)}"
        if said.code:
            self._log.state("pull", "error" if said.state == "refused" else "warning", said.code, f"{what}: {said.message}")
        elif said.state == "installed" and (before is None or before.state != "installed"):
            self._log.over("pull", f"{what} could be pulled")
            done = "the fleet's roll-back is done" if desired.action == "back" else f"{what} of the fleet is current"
            self._log.info("I-FLEET-BUNDLE", done)

    def _kept_back(self) -> _Back | None:
        try:
            return msgspec.json.decode(read_bounded(self._state / FOLDER / _BACK, _LIMIT), type=_Back)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _keep_back(self, desired: Desired) -> None:
        if self._kept_back() == _back(desired):
            return
        folder = self._state / FOLDER
        try:
            folder.mkdir(exist_ok=True)
            write_whole(folder / _BACK, msgspec.json.encode(_back(desired)))
        except OSError as error:
            self._log.error("E-OUTPUT-WRITE", f"{printable(str(folder))}: {error.strerror}: free space")


def _back(desired: Desired) -> _Back:
    return _Back(desired.rollout, desired.attempt, desired.bundle)
