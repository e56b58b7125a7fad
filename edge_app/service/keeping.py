"""Deletes what is over the limits of [keep]: files in done/ and quarantine/, and pictures of cameras.

In a process of its own, once an hour: a watched folder may be a share that never answers, and a large one takes seconds.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct

from limiar.edge_app.health.retention import EVERY_S, Limits, Removed, remove_old
from limiar.edge_app.service.config import Config, Retention
from limiar.edge_app.service.frames import FrameLimits, prune
from limiar.edge_app.system.channel import ParentEnd, WorkerEnd
from limiar.edge_app.system.children import Child, fork_child

_FIRST_S = 60.0  # after the start
_SOON_S = 10.0  # if there is more to delete at once
_LONGEST_S = 600.0  # a process that takes longer is killed


class Tidied(Struct, frozen=True):
    """What was removed from one place."""

    place: str  # "inbox/done", "frames"
    removed: Removed
    error: str = ""  # why the place could not be looked through


_TIDIED = msgspec.msgpack.Decoder(tuple[Tidied, ...])


class Keeping:
    """Use as a context manager: leaving ends the process."""

    def __init__(
        self, config: Config, state: Path, trusted: Callable[[], bool], now: Callable[[], float] = time.monotonic
    ) -> None:
        """trusted: whether the clock is."""
        self._config, self._state, self._trusted, self._now = config, state, trusted, now
        self._due = now() + _FIRST_S
        self._started = 0.0
        self._child: tuple[Child, ParentEnd] | None = None

    def __enter__(self) -> "Keeping":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def turn(self) -> tuple[Tidied, ...]:
        """To be called often; what a process that has just ended removed. Raises OSError if none can be started."""
        if self._child is None:
            if self._now() >= self._due:
                self._due, self._started = self._now() + EVERY_S, self._now()
                now_s = time.time() if self._trusted() else None
                self._child = fork_child(partial(_tidy, self._config, self._state, now_s))
            return ()
        child, end = self._child
        if child.is_alive():
            if self._now() - self._started > _LONGEST_S:
                child.kill()  # one that waits for a share may not end even so, and until it does there is no other
            return ()
        try:
            said = end.receive()
        except EOFError:  # it was killed
            said = []
        self._end()
        tidied = _TIDIED.decode(said[0]) if said else ()
        if any(one.removed.more for one in tidied):
            self._due = self._now() + _SOON_S
        return tidied

    def _end(self) -> None:
        if self._child:
            child, end = self._child
            child.kill()
            end.close()
            self._child = None


def _tidy(config: Config, state: Path, now_s: float | None, end: WorkerEnd) -> None:
    """The process's life: looks through every place that has limits, and says what it removed."""
    keep, tidied = config.keep, list[Tidied]()
    for folder in config.folder:
        done, quarantine = limits(keep.done), limits(keep.quarantine)
        for into, most, reasons in ((folder.done, done, False), (folder.quarantine, quarantine, True)):
            if most != Limits():
                tidied.append(_tidied(f"{folder.source}/{into}", partial(remove_old, folder.path, into, most, now_s, reasons)))
    frames = FrameLimits(keep.frames.days, keep.frames.count, limits(keep.frames).bytes)
    if config.camera and frames != FrameLimits():
        pruned = prune(state / "frames", frames, now_s)
        tidied.append(Tidied("frames", Removed(pruned.files, pruned.size)))
    end.send(msgspec.msgpack.encode(tuple(tidied)))


def _tidied(place: str, remove: Callable[[], Removed]) -> Tidied:
    try:
        return Tidied(place, remove())
    except OSError as error:
        return Tidied(place, Removed(), str(error.strerror))


def limits(retention: Retention) -> Limits:
    """Of a section of the configuration."""
    return Limits(retention.days, retention.count, int(retention.megabytes * 1e6))
