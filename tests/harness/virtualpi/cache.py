"""A cache of what is made once and then only read: downloads, roots, wheels, programs. Each is complete or absent."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "limiar" / "virtual-pi"


def kept(kind: str, name: str, make: Callable[[Path], None]) -> Path:
    """CACHE/kind/name. If it is missing, `make` makes it at the path that it is given, while other callers wait for it."""
    path = CACHE / kind / name
    path.parent.mkdir(parents=True, exist_ok=True)
    # A lock on an open file works between threads and between processes, and ends with its holder.
    with (path.parent / f".{name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            for left in path.parent.glob(f".{name}-*"):  # left by a killed run: with the lock held, no other run is making it
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=path.parent) as partial:
                made = Path(partial, name)
                make(made)
                made.rename(path)
    return path


def key(made_from: Sequence[str]) -> str:
    """A name for what is made from these."""
    return hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:16]
