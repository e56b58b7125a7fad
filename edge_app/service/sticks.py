"""USB sticks of a service: a process of its own installs what is on them and copies results onto them, at the stick's pace.

It asks the service to keep the installation in the audit log and to start with the new bundle, as `limiar install` does.
"""

import os
import select
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from limiar.edge_app.bundle.signature import Keys, read_keys
from limiar.edge_app.errors import LimiarError, printable
from limiar.edge_app.health.log import Log
from limiar.edge_app.install.stick import StickFound, Sticks, copy_results
from limiar.edge_app.install.telling import tell
from limiar.edge_app.results.listing import csv_lines, listed
from limiar.edge_app.service.backoff import Backoff
from limiar.edge_app.service.config import AnswerSection, UpdateSection
from limiar.edge_app.store.reader import Filter
from limiar.edge_app.store.state import DATABASE
from limiar.edge_app.system.channel import ParentEnd, WorkerEnd
from limiar.edge_app.system.children import Child, spawn_child
from limiar.edge_app.system.clock import utc_now

_LOOK_S = 3.0  # a person waits


class Job(Struct, frozen=True):
    """What the process is given."""

    state: bytes
    keys: Keys | None
    folders: tuple[str, ...]  # where sticks are mounted
    results: bool  # copy results onto them


class Said(Struct, frozen=True):
    """A line for the log."""

    code: str
    message: str
    failed: bool


_SAID = msgspec.msgpack.Decoder(Said)


class StickWatch:
    """The process, as the service sees it. Use `close` at the end."""

    def __init__(self, state: Path, answer: AnswerSection, update: UpdateSection, log: Log) -> None:
        self._state, self._answer, self._update, self._log = state, answer, update, log
        self._backoff = Backoff()
        self._running: tuple[Child, ParentEnd] | None = None

    def turn(self) -> None:
        """Starts the process, and logs what it says; without waiting. Raises nothing."""
        if self._running is None:
            if self._backoff.due:
                self._start()
            return
        try:
            for said in map(_SAID.decode, self._running[1].receive()):
                (self._log.error if said.failed else self._log.info)(said.code, said.message)
        except (EOFError, msgspec.MsgspecError):
            self.close()
            self._backoff.failed()

    def _start(self) -> None:
        self._backoff.started()
        answer, update = self._answer, self._update
        try:
            keys = read_keys(*answer.keys, revoked=answer.revoked) if answer.keys else None
            self._running = spawn_child(watch)
        except (LimiarError, OSError) as error:
            code, message = (error.code, error.message) if isinstance(error, LimiarError) else ("E-SERVICE-START", str(error))
            self._log.state("stick", "error", code, f"sticks are not looked for: {message}")
            self._backoff.failed()
            return
        self._log.over("stick", "sticks are looked for again")
        job = Job(os.fsencode(self._state), keys, update.stick_folders, update.stick_results)
        self._running[1].send(msgspec.msgpack.encode(job))

    def close(self) -> None:
        """Ends it: an installation is all or nothing, and so is a copy of results."""
        if self._running:
            child, end = self._running
            self._running = None
            child.kill()
            child.join()
            end.close()


def watch(parent: WorkerEnd) -> None:
    """The process's life; it ends when the service closes its end."""
    job = msgspec.msgpack.decode(parent.receive(), type=Job)
    state = Path(os.fsdecode(job.state))
    sticks = Sticks(state, job.keys, tuple(map(Path, job.folders)))

    def say(code: str, message: str, failed: bool = False) -> None:
        parent.send(msgspec.msgpack.encode(Said(code, message, failed)))

    known: frozenset[int] = frozenset()  # mounts that have the results
    while not _ended(parent):
        for found in sticks.look():
            _installed(state, found, say)
        writable = sticks.sticks if job.results else ()
        for stick in writable:
            if stick.mount not in known:
                try:
                    copied = copy_results(stick, f"results-{utc_now()[:10]}.csv", lambda write: export(state, write))
                    say("I-STICK", f"results were copied to {printable(str(copied))}")
                except LimiarError as error:
                    say(error.code, error.message, failed=True)
        known = frozenset(stick.mount for stick in writable)


def _installed(state: Path, found: StickFound, say: Callable[..., None]) -> None:
    where = printable(found.name)
    if found.installed is None:
        say(found.code, f"{where}: {found.message}", failed=True)
        return
    say("I-STICK", f"{found.installed.name} {found.installed.version} was installed from {where} on a stick")
    try:
        tell(state, "install", found.installed.detail)
    except LimiarError as error:
        say(error.code, error.message, failed=True)


def export(state: Path, write: Callable[[bytes], None]) -> None:
    """Writes all results as a spreadsheet. Raises LimiarError."""
    for line in csv_lines(listed(state / DATABASE, Filter(), None)):
        write(line)


def _ended(parent: WorkerEnd) -> bool:
    """Waits until the next look; whether the service has closed its end."""
    poll = select.poll()
    poll.register(parent, select.POLLIN)
    return bool(poll.poll(_LOOK_S * 1000))
