"""A process that looks for USB sticks: a look installs, which takes seconds, and a stick that hangs may hang it."""

import os
import select
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from limiar.edge_app.bundle.signature import Keys
from limiar.edge_app.install.stick import ROOTS, StickFound, Sticks
from limiar.edge_app.system.channel import ParentEnd, WorkerEnd
from limiar.edge_app.system.children import Child, start_child

LOOK_S = 5.0  # between two looks: a person waits for the stick's lamp

_FOUND = msgspec.msgpack.Decoder(StickFound)


class _Asked(Struct, frozen=True):
    """What the child looks for."""

    state: bytes
    keys: Keys | None
    roots: tuple[bytes, ...]


class StickChild:
    """The process, as its parent sees it, which never waits for it. Its owner starts another one if it is lost."""

    def __init__(self, state: Path, keys: Keys | None, roots: Sequence[Path] = ROOTS) -> None:
        self._asked = _Asked(os.fsencode(state), keys, tuple(map(os.fsencode, roots)))
        self._process: Child | None = None
        self._connection: ParentEnd | None = None

    def start(self) -> None:
        """Raises OSError."""
        self._process, self._connection = start_child(look_for_sticks)
        self._connection.send(msgspec.msgpack.encode(self._asked))

    def fileno(self) -> int:
        """To wait for what it finds, or for its end."""
        assert self._connection
        return self._connection.fileno()

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.is_alive()

    def turn(self) -> list[StickFound]:
        """What it has found by now; nothing more comes from one that has ended."""
        assert self._connection
        try:
            return [_FOUND.decode(message) for message in self._connection.receive()]
        except (EOFError, msgspec.MsgspecError):
            self.kill()
            return []

    def kill(self) -> None:
        """Ends it, whatever it is doing: an installation that is cut off changes nothing."""
        if self._process:
            self._process.kill()
            self._process.join()

    def end(self) -> None:
        """Ends it for good."""
        self.kill()
        if self._connection:
            self._connection.close()


def look_for_sticks(parent: WorkerEnd) -> None:
    """The child's life."""
    asked = msgspec.msgpack.decode(parent.receive(), type=_Asked)
    sticks = Sticks(Path(os.fsdecode(asked.state)), asked.keys, [Path(os.fsdecode(root)) for root in asked.roots])
    while True:
        for found in sticks.look():
            parent.send(msgspec.msgpack.encode(found))
        if _ended(parent):
            return


def _ended(parent: WorkerEnd) -> bool:
    """Waits for the time of the next look; whether the parent has gone meanwhile."""
    return bool(select.select([parent], [], [], LOOK_S)[0])
