"""The place where bench keeps what is thrown away."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from limiar.edge_app.errors import StoreError
from limiar.edge_app.store.state import state_folder

_PREFIX = "bench-"
_LOCK = "owner.lock"  # in the folder: held for as long as its owner lives


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path | None]:
    """A folder that is thrown away, on the disk that keeps results if it can be: what a commit costs depends on the disk.

    A run that was killed leaves its folder there, and the next one removes it. None: nothing can be written.
    """
    with contextlib.ExitStack() as made:
        yield _made(made)


def _made(made: contextlib.ExitStack) -> Path | None:
    with contextlib.suppress(OSError, StoreError):
        return _in_state(state_folder(), made)
    with contextlib.suppress(OSError):
        return Path(made.enter_context(tempfile.TemporaryDirectory(prefix="limiar-bench-")))
    return None


def _in_state(place: Path, made: contextlib.ExitStack) -> Path:
    """Raises OSError."""
    place.mkdir(parents=True, exist_ok=True)
    with _alone(place) as alone:  # otherwise another run could remove this one's folder before its lock is held
        if alone:
            for left in place.glob(f"{_PREFIX}*/{_LOCK}"):
                _remove_if_left(left)
        folder = Path(made.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place)))
        lock = made.enter_context((folder / _LOCK).open("wb"))
        with contextlib.suppress(OSError):  # a file system without locks: then nobody takes it for left
            fcntl.flock(lock, fcntl.LOCK_EX)
    return folder


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[bool]:
    """No other run makes or removes a folder meanwhile; False: this file system does not lock folders (NFS)."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _remove_if_left(lock: Path) -> None:
    """Removes the folder of a lock that nobody holds: its owner was killed."""
    with contextlib.suppress(OSError):  # it is held, or not ours
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent)
        finally:
            os.close(descriptor)
