"""The store, kept small and copied: old rows go a few at a time, and once a day a child process copies the database."""

import contextlib
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

from limiar.edge_app.errors import printable
from limiar.edge_app.health.retention import at_once
from limiar.edge_app.service.config import Retention
from limiar.edge_app.store.snapshot import take_snapshot
from limiar.edge_app.store.writer import Store
from limiar.edge_app.system.channel import ParentEnd, WorkerEnd
from limiar.edge_app.system.children import Child, spawn_child
from limiar.edge_app.system.clock import iso

_FIRST_S = 300.0  # after the start, which has enough to do
_FORGET_S = 3600.0
_STEP_S = 0.25  # between two steps of removing rows
_COPY_S = 86_400.0
_DAY_S = 86_400.0


class StoreUpkeep:
    """Takes its turns in the service's loop. Use `close` at the end."""

    def __init__(self, limits: Retention, trusted: Callable[[], bool], now: Callable[[], float] = time.monotonic) -> None:
        """trusted: whether the clock is; until then nothing is removed for its age."""
        self._limits, self._trusted, self._now = limits, trusted, now
        self._forget_at_s = self._copy_at_s = now() + _FIRST_S
        self._of_age: int | None = None  # entries that may still go for their age in this hour; None: not counted yet
        self._copying: tuple[Child, ParentEnd] | None = None

    def turn(self, store: Store) -> None:
        """Does a step of what is due. Raises StoreError."""
        now = self._now()
        if now >= self._forget_at_s:
            if self._of_age is None:
                self._of_age = at_once(store.entries, self._limits.days)
            more = self._limits != Retention() and self._forget(store)
            self._forget_at_s = now + (_STEP_S if more else _FORGET_S)
            self._of_age = self._of_age if more else None
        if self._copying and not self._copying[0].is_alive():
            self.close()
        if now >= self._copy_at_s and not self._copying:
            self._copy_at_s = now + _COPY_S
            with contextlib.suppress(OSError):  # no memory for a process: tomorrow
                self._copying = spawn_child(copy)
                self._copying[1].send(os.fsencode(store.path))

    def close(self) -> None:
        """Ends a copy that is being made: it appears whole or not at all."""
        if self._copying:
            child, end = self._copying
            child.kill()
            child.join()
            end.close()
            self._copying = None

    def _forget(self, store: Store) -> int:
        """A step; how many entries went."""
        gone = store.forget(count=self._limits.count or None, size=int(self._limits.megabytes * 1e6) or None)
        if not gone and self._limits.days and self._of_age and self._trusted():
            before = iso(int((time.time() - self._limits.days * _DAY_S) * 1e9))
            gone = store.forget(before=before, most=self._of_age)
            self._of_age -= gone
        return gone


def copy(parent: WorkerEnd) -> None:
    """The child's life."""
    try:
        take_snapshot(Path(os.fsdecode(parent.receive())))
    except (OSError, sqlite3.Error) as error:
        sys.stderr.write(f"W-STORE-COPY: the store was not copied: {printable(str(error))}\n")
