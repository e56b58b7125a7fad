"""Writes files and folders that appear whole or not at all; reads untrusted files within bounds."""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from limiar.edge_app.errors import printable

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # fcntl.h, linux/fs.h


def sync_directory(path: Path) -> None:
    """Flushes a directory: a rename survives a power cut only after that."""
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
    """All bytes of a plain file of at most `limit` bytes, opened once: the file that is checked is the file that is read.

    A FIFO would block, and /dev/zero has no end. follow: whether the path may be a link: yes if a person gave it, no in a
    folder that came from elsewhere. Raises OSError, with a reason for a person in `strerror`.
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


class WholeFile:
    """A file that gets its name once it is whole: a kill leaves nothing, and a reader sees the old file or the new one.

    Until then it has no name (open(2), O_TMPFILE). On a file system that cannot do that (FAT, NFS) it is `.NAME.PID.partial`
    in the same folder; such files left there by killed processes are removed first.
    """

    def __init__(self, path: Path, mode: int = 0o666) -> None:
        """Raises OSError, also if `path` is a link, a folder or a device."""
        check_replaceable(path)
        self._path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        descriptor = _unnamed(path.parent, mode)
        self._named = descriptor is None
        if descriptor is None:
            remove_left_partials(path)
            descriptor = _new_file(self._partial, mode)
        else:
            _lock(descriptor)
        self._file = open(descriptor, "wb")  # noqa: SIM115 closed by publish or discard

    def write(self, data: bytes) -> None:
        """Raises OSError."""
        self._file.write(data)

    def publish(self, durable: bool = True, replace: bool = True) -> None:
        """Gives the file its name, and if `durable`, waits for the disk. Raises OSError; FileExistsError unless `replace`.

        After an error nothing of it is left, and an earlier file is still there.
        """
        try:
            self._file.flush()
            if durable:
                os.fsync(self._file.fileno())
            if replace:
                self._link(self._partial)
                self._partial.replace(self._path)
            else:
                self._link(self._path)
        except BaseException:
            self.discard()
            raise
        self.discard()
        if durable:
            sync_directory(self._path.parent)

    def discard(self) -> None:
        """Closes the file; one that was not published is gone."""
        with contextlib.suppress(OSError):  # perhaps its buffer cannot be written
            self._file.close()
        if self._named:
            self._partial.unlink(missing_ok=True)

    def _link(self, name: Path) -> None:
        if self._named:
            if name != self._partial:
                os.link(self._partial, name)
            return
        if name == self._partial:
            name.unlink(missing_ok=True)  # left by a killed process that had our process id
        parent = os.open(name.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:  # with a descriptor of the folder, Python follows the link that names the open file
            os.link(f"/proc/self/fd/{self._file.fileno()}", name.name, dst_dir_fd=parent, follow_symlinks=True)
        finally:
            os.close(parent)
        self._named = name == self._partial


def _unnamed(folder: Path, mode: int) -> int | None:
    """A file without a name on the file system of `folder`, open for writing; None if that cannot have such files."""
    try:
        descriptor = os.open(folder, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
            return None  # if it is because the folder is missing, the next open says so
        raise
    if os.path.exists(f"/proc/self/fd/{descriptor}"):  # which it needs to get its name
        return descriptor
    os.close(descriptor)
    return None


def _new_file(partial: Path, mode: int) -> int:
    """Open for writing, and locked. Until then, another process may take it for one that was left, and remove it: once more."""
    while True:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        _lock(descriptor)
        if os.path.lexists(partial):
            return descriptor
        os.close(descriptor)


def _new_folder(partial: Path, mode: int) -> int:
    """As `_new_file`, of a folder."""
    while True:
        partial.mkdir(mode)
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            _lock(descriptor)
            if os.path.lexists(partial):
                return descriptor
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Shows that the writer of a partial file or folder is alive."""
    with contextlib.suppress(OSError):  # not every file system has locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def remove_left_partials(path: Path) -> None:
    """Removes partial files of `path` that killed processes have left; living processes lock theirs."""
    start, end = f".{path.name}.", ".partial"
    for name in os.listdir(path.parent):
        if not (name.startswith(start) and name.endswith(end) and name[len(start) : -len(end)].isdecimal()):
            continue
        with contextlib.suppress(OSError):  # it is locked, or gone
            descriptor = os.open(path.with_name(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                    _remove_folder(path.with_name(name))
                else:
                    path.with_name(name).unlink()
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def partial_folder(path: Path, mode: int = 0o777) -> Iterator[Path]:
    """A new folder beside `path`, to be filled and renamed; removed at the end if it was not renamed. Raises OSError.

    with partial_folder(path) as partial:
        write_whole(partial / "one.json", data)
        replace_folder(partial, path)

    mode: 0o700 if other users of this machine must not look into it. Partial folders that killed processes have
    left there are removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left_partials(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    descriptor = _new_folder(partial, mode)
    try:
        yield partial
    finally:
        os.close(descriptor)
        _remove_folder(partial)


def _remove_folder(path: Path) -> None:
    import shutil  # it loads archive libraries, which a scan does not need

    shutil.rmtree(path, ignore_errors=True)


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Writes a new file, whole, on the disk, and with these permissions from the start.

    Raises FileExistsError if something is there, even if it appears meanwhile: unlike a rename, a link replaces nothing.
    """
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    _write(WholeFile(path, mode), data, durable=True, replace=False)


def _write(file: WholeFile, data: bytes, durable: bool, replace: bool) -> None:
    try:
        file.write(data)
    except BaseException:
        file.discard()
        raise
    file.publish(durable, replace)


def check_replaceable(path: Path) -> None:
    """Raises OSError if something other than a plain file is there: a rename would replace even /dev/null."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise OSError(errno.EINVAL, "exists, but is not a plain file", str(path))


def write_whole(path: Path, data: bytes, durable: bool = True) -> None:
    """Writes `data` at `path`: a reader sees the old file or the whole new one; if `durable`, even after a power cut.

    Raises OSError, also if `path` is a link, a folder or a device.
    """
    _write(WholeFile(path), data, durable, replace=True)


def replace_folder(partial: Path, path: Path) -> None:
    """Puts the finished folder `partial` at `path`, in one step and on the disk; an earlier folder there is removed.

    If `path` was a link, the folder that it leads to stays. renameat2(2) exchanges the two; on a file system that cannot
    (NFS, some FUSE) there is a moment without either, between two renames.
    """
    if not path.exists():
        partial.rename(path)
    elif not _exchange(partial, path):
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        path.rename(old)
        partial.rename(path)
        old.rename(partial)
    sync_directory(path.parent)
    if partial.is_symlink() or partial.is_file():
        partial.unlink()
    _remove_folder(partial)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two paths; returns False if the file system cannot. Raises OSError for any other reason."""
    import ctypes  # only publishing needs it

    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2  # in glibc from 2.28 on, which the wheels need anyway
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    reason = ctypes.get_errno()
    if reason in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(reason, os.strerror(reason), str(one), None, str(other))
