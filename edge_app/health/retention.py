"""What may be deleted of the files that a service moved: the oldest, until the rest is within the limits.

By number and size at once. By age only while the clock is trusted, never what was moved before the clock can have been right,
and only three times as many an hour as come of age: a clock that is wrong, and believed, takes days to do harm.
"""

import contextlib
import heapq
import math
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from limiar.edge_app.system.clock import NOT_BEFORE_S

EVERY_S = 3600.0  # between two calls
_AT_ONCE = 2000  # files that one call removes at most, and holds in memory
_DAY_S = 86_400.0
_OF_AGE = 3.0  # times as many as come of age in an hour, if as many arrive each hour
_FEW = 10  # so many are always removed, or a folder with few files would never be
_REASON = ".json"  # of a file in quarantine: intake/settle.py


class Limits(Struct, frozen=True):
    """How much is kept; 0: without a limit."""

    days: float = 0
    count: int = 0
    bytes: int = 0


class Removed(Struct, frozen=True):
    """What was removed."""

    files: int = 0
    bytes: int = 0
    more: bool = False  # there is more to remove at once: it is over the limit of number or size


class _File(NamedTuple):
    moved_s: float  # when it got its name here: since 1970, by the clock of that moment
    folder: str  # below the one that is looked through
    name: str
    size: int  # with the reason beside it


def remove_old(root: str, into: str, limits: Limits, now_s: float | None, reasons: bool = False) -> Removed:
    """Removes files of the folder `into` in a watched folder. Raises OSError if that cannot be read.

    now_s: since 1970; None if the clock is not trusted. reasons: only files with a NAME.json, and that with them.
    Links, hidden files and everything that is not a plain file stay.
    """
    with _folder(root, into) as top:
        if top is None:
            return Removed()
        count = size = 0
        oldest: list[_File] = []  # a heap with the newest of them first
        for file in _files(top, reasons):
            count, size = count + 1, size + file.size
            heapq.heappush(oldest, file._replace(moved_s=-file.moved_s))
            if len(oldest) > _AT_ONCE:
                heapq.heappop(oldest)
        of_age = at_once(count, limits.days)
        removed = freed = 0
        for file in sorted(oldest, key=lambda file: (-file.moved_s, file.folder, file.name)):
            over = (limits.count and count > limits.count) or (limits.bytes and size > limits.bytes)
            if not over and not (removed < of_age and _is_old(-file.moved_s, limits.days, now_s)):
                return Removed(removed, freed)
            with contextlib.suppress(OSError):  # it stays, and counts
                _remove(top, file, reasons)
                removed, freed = removed + 1, freed + file.size
                count, size = count - 1, size - file.size
        return Removed(removed, freed, more=bool(limits.count and count > limits.count or limits.bytes and size > limits.bytes))


def at_once(count: int, days: float) -> int:
    """How many of so many things may be removed for their age in one hour."""
    return max(_FEW, math.ceil(count * _OF_AGE * EVERY_S / (days * _DAY_S))) if days else 0


def _is_old(moved_s: float, days: float, now_s: float | None) -> bool:
    return bool(days) and now_s is not None and NOT_BEFORE_S <= moved_s < now_s - days * _DAY_S


@contextlib.contextmanager
def _folder(root: str, into: str) -> Iterator[int | None]:
    """A descriptor; None if there is no such folder. The root may be a link, since a person gave it."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    above = os.open(root, flags)
    try:
        folder = os.open(into, flags | os.O_NOFOLLOW, dir_fd=above)
    except FileNotFoundError:
        folder = None
    finally:
        os.close(above)
    try:
        yield folder
    finally:
        if folder is not None:
            os.close(folder)


def _files(top: int, reasons: bool) -> Iterator[_File]:
    for folder, folders, names, descriptor in os.fwalk(".", dir_fd=top):  # it follows no links
        folders[:] = [name for name in folders if not name.startswith(".")]
        there = set(names) if reasons else set()
        for name in names:
            if name.startswith(".") or (reasons and f"{name}{_REASON}" not in there):
                continue
            with contextlib.suppress(OSError):  # it is gone
                found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                more = os.stat(f"{name}{_REASON}", dir_fd=descriptor, follow_symlinks=False).st_size if reasons else 0
                if stat.S_ISREG(found.st_mode):
                    # A rename sets ctime; mtime may be years ago, when the picture was taken.
                    yield _File(max(found.st_ctime, found.st_mtime), folder, name, found.st_size + more)


def _remove(top: int, file: _File, reasons: bool) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
    folder = os.open(file.folder, flags, dir_fd=top)
    try:
        os.unlink(file.name, dir_fd=folder)
        if reasons:
            os.unlink(f"{file.name}{_REASON}", dir_fd=folder)
    finally:
        os.close(folder)
