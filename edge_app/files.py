"""Files that appear whole or not at all."""

import contextlib
import errno
import os
import shutil
import stat
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # fcntl.h, linux/fs.h


def sync_directory(path: Path) -> None:
    """A rename survives a power cut only when its directory was flushed too."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flushes a file that a library wrote."""
    descriptor = os.open(path, os.O_RDONLY)
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


def check_replaceable(path: Path) -> None:
    """Raises OSError where something else than a plain file is there: a rename would put one in the place of /dev/null."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise OSError(errno.EINVAL, "is there and no plain file", str(path))


def write_whole(path: Path, data: bytes, durable: bool = True) -> None:
    """Writes `data` at `path` so that a reader sees the old file or the whole new one; if `durable`, also after a power cut.

    Raises OSError, also where `path` is a link, a folder or a device.
    """
    check_replaceable(path)
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


def replace_folder(partial: Path, path: Path) -> None:
    """The finished folder `partial` takes the place of `path`, in one step and on the disk; what was there goes.

    renameat2(2) exchanges the two. A file system that cannot (NFS, some FUSE) gets two renames, with a moment without either.
    """
    if not path.exists():
        partial.rename(path)
    elif not _exchange(partial, path):
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        path.rename(old)
        partial.rename(path)
        old.rename(partial)
    sync_directory(path.parent)
    shutil.rmtree(partial, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """False where the file system cannot. Raises OSError for any other reason."""
    import ctypes  # only who publishes needs it

    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2  # glibc 2.28 and newer: all that there are wheels for
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    reason = ctypes.get_errno()
    if reason in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(reason, os.strerror(reason), str(one), None, str(other))
