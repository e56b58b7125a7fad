"""Files that appear whole or not at all."""

import contextlib
import os
from pathlib import Path


def sync_directory(path: Path) -> None:
    """A rename survives a power cut only when its directory was flushed too."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Writes `data` at `path`, where nothing may be yet: whole, on the disk, and with these permissions from the start.

    Raises FileExistsError: unlike a rename, a link is not made over what is there.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.link(partial, path)
        finally:
            partial.unlink()
    sync_directory(path.parent)


def write_whole(path: Path, data: bytes, durable: bool = True) -> None:
    """Writes `data` at `path` so that a reader sees the old file or the whole new one; if `durable`, also after a power cut."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        raise
    if durable:
        sync_directory(path.parent)
