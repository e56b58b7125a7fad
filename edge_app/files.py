"""Files that appear whole or not at all, and files of strangers that are read within bounds."""

import contextlib
import errno
import os
import shutil
import stat
from pathlib import Path

from edge_app.errors import printable

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


def read_bounded(path: Path | str, limit: int, follow: bool = False) -> bytes:
    """All bytes of a regular file of at most `limit` bytes, opened once: what is looked at is what is read.

    A FIFO would be waited for and /dev/zero has no end. follow: whether a link may lead to the file, as where a person names
    it; in a folder that came from elsewhere it may not. Raises OSError, with a reason for a person in `strerror`.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "a link, not a plain file", str(path)) from None
        if error.errno in (errno.ENXIO, errno.ENODEV):
            raise OSError(error.errno, "a socket or device, not a plain file", str(path)) from None
        raise
    except ValueError:
        raise OSError(errno.EINVAL, "NUL in its name", printable(str(path))) from None
    with open(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "a FIFO, socket or device, not a plain file", str(path))
        chunks: list[bytes] = []
        left = min(status.st_size, limit) + 1
        while left and (chunk := file.read(left)):
            chunks.append(chunk)
            left -= len(chunk)
    data = b"".join(chunks)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"over {limit / 1e6:g} MB, which is the limit", str(path))
    return data


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
