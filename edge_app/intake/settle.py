"""Moves answered files into done/ and refused ones into quarantine/: whole, replacing nothing, only what was answered.

A file keeps its path below the watched folder. Call this after the answer is on the disk: a crash in between leaves the file
where it was, and at the next start its answer is found in the store and the file is moved.
"""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec

from limiar.edge_app.errors import SourceError, printable
from limiar.edge_app.intake.beneath import folder_beneath, has_inodes, parts
from limiar.edge_app.intake.look import Seen
from limiar.edge_app.intake.messages import Quarantined, WatchedFolder
from limiar.edge_app.output.lines import path_fields
from limiar.edge_app.system.files import read_bounded, write_whole
from limiar.edge_app.text import for_json

_LIBC = ctypes.CDLL(None, use_errno=True)  # once: each makes a class, 60 us
_RENAME_NOREPLACE = 1  # linux/fs.h
_NAME_BYTES = 255  # of a file's name, on most file systems
_SHORT_BYTES = 100  # on those that take less
_TWINS = 9  # names NAME, NAME-2 … NAME-9; then NAME-RANDOM
_FOLDERS = 64  # open at once
_JSON = b".json"
_REASON_BYTES = 64 << 10  # of a NAME.json


class Moved(msgspec.Struct, frozen=True):
    """What became of a file."""

    to: bytes | None  # where it is now; None: it was gone, or was not the answered file any more, and stays


class Reason(Quarantined, frozen=True, kw_only=True):
    """NAME.json."""

    path: str  # where the file was, with bytes that are not UTF-8 as \\xNN
    path_base64: str | msgspec.UnsetType = msgspec.UNSET  # its bytes, if they are not UTF-8


class Settling:
    """Moves of the files of one folder; on leaving, they are on the disk: one fsync for each folder, not for each file.

    with Settling(folder) as settling:
        settling.done(b"/srv/inbox/a.png", identity)
    """

    def __init__(self, folder: WatchedFolder) -> None:
        self._folder = folder
        self._has_inodes = has_inodes(folder.path)
        self._changed: dict[tuple[int, int], int] = {}  # device and inode of folders -> a descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Raises OSError."""
        self._sync()

    def _sync(self) -> None:
        try:
            for descriptor in self._changed.values():
                os.fsync(descriptor)
        finally:
            for descriptor in self._changed.values():
                os.close(descriptor)
            self._changed.clear()

    def done(self, path: bytes, identity: bytes) -> Moved:
        """Moves an answered file. identity: of the file that was answered. Raises SourceError: E-WATCH-LINK, E-WATCH-MOVE."""
        assert self._folder.done
        return self._settle(path, identity, os.fsencode(self._folder.done), None)

    def quarantined(self, path: bytes, identity: bytes, reason: Quarantined) -> Moved:
        """Moves a refused file, after NAME.json is on the disk. Raises SourceError: E-WATCH-LINK, E-WATCH-MOVE."""
        assert self._folder.quarantine
        return self._settle(path, identity, os.fsencode(self._folder.quarantine), reason)

    def _settle(self, path: bytes, identity: bytes, into: bytes, reason: Quarantined | None) -> Moved:
        root = self._folder.path
        *below, name = parts(root, path)
        with contextlib.ExitStack() as opened:
            try:
                source = opened.enter_context(folder_beneath(root, below))
                if not self._is(source, name, identity):
                    return Moved(None)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # it, or its folder, is gone or replaced
                    return Moved(None)
                raise _refused(path, error) from None
            try:
                target = opened.enter_context(folder_beneath(root, [into, *below], make=True))
                moved_to = self._move(source, name, target, path, reason)
            except OSError as error:
                if error.errno == errno.ENOENT:  # it went in this moment
                    return Moved(None)
                if error.errno in (errno.ENOTDIR, errno.ELOOP):
                    met = f"{printable(os.path.join(root, into))} is a link, or holds one where a folder should be"
                    raise SourceError("E-WATCH-LINK", f"{met}: remove it; files are moved only within the folder") from None
                raise _refused(path, error) from None
            if not self._is(target, moved_to, identity):  # it was replaced in this moment: back with it
                _rename(target, moved_to, source, name)
                return Moved(None)
            for descriptor in (target, source):
                self._keep(descriptor)
        return Moved(os.path.join(root, into, *below, moved_to))

    def _move(self, source: int, name: bytes, target: int, path: bytes, reason: Quarantined | None) -> bytes:
        """Returns the file's new name. Raises OSError."""
        for twin in _names(name, len(_JSON) if reason else 0):
            if reason and not _write_reason(target, twin, path, reason):
                continue
            try:
                _rename(source, name, target, twin)
            except OSError as error:
                if reason:
                    os.unlink(twin + _JSON, dir_fd=target)
                if error.errno not in (errno.EEXIST, errno.ENAMETOOLONG):
                    raise
            else:
                return twin
        raise OSError(errno.EEXIST, "no free name was found")

    def _is(self, folder: int, name: bytes, identity: bytes) -> bool:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        return Seen.of(status, self._has_inodes).identity == identity

    def _keep(self, folder: int) -> None:
        """Keeps a folder for the fsync at the end."""
        if len(self._changed) >= _FOLDERS:
            self._sync()
        status = os.fstat(folder)
        key = status.st_dev, status.st_ino
        if key not in self._changed:
            self._changed[key] = os.dup(folder)


def _names(name: bytes, more: int) -> Iterator[bytes]:
    """Names to try, one after the other. more: bytes that must still fit behind each."""
    stem, extension = os.path.splitext(name)
    if len(extension) > _SHORT_BYTES // 2:  # none that means anything
        stem, extension = name, b""
    for longest in (_NAME_BYTES, _SHORT_BYTES):
        for mark in _marks():
            yield stem[: longest - len(mark) - len(extension) - more] + mark + extension


def _marks() -> Iterator[bytes]:
    yield b""
    for number in range(2, _TWINS + 1):
        yield b"-%d" % number
    for _ in range(9):
        yield b"-" + os.urandom(4).hex().encode()


def _write_reason(folder: int, name: bytes, path: bytes, reason: Quarantined) -> bool:
    """Writes NAME.json, whole and on the disk; False if the name is taken, or too long. Raises OSError."""
    shown, base64 = path_fields(path)
    full = Reason(**msgspec.structs.asdict(reason), path=shown, path_base64=base64 or msgspec.UNSET)
    json = Path(os.fsdecode(b"/proc/self/fd/%d/%s" % (folder, name + _JSON)))
    try:
        if _exists(folder, name) or (_exists(folder, name + _JSON) and not _is_left_over(json, full)):
            return False
        write_whole(json, for_json(msgspec.json.format(msgspec.json.encode(full))) + b"\n")
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise
    return True


def _is_left_over(json: Path, reason: Reason) -> bool:
    """Whether a crash came between writing this file's NAME.json and moving the file."""
    try:
        return msgspec.json.decode(read_bounded(json, _REASON_BYTES), type=Reason).path == reason.path
    except (OSError, msgspec.MsgspecError):
        return False


def _exists(folder: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _rename(from_folder: int, name: bytes, to_folder: int, to_name: bytes) -> None:
    """Renames, and replaces nothing. Raises OSError: FileExistsError if the name is taken."""
    if _LIBC.renameat2(from_folder, name, to_folder, to_name, _RENAME_NOREPLACE) == 0:
        return
    reason = ctypes.get_errno()
    if reason not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(reason, os.strerror(reason))
    # NFS and some FUSE cannot do that. Nobody else puts files into these folders, so looking first is enough.
    if _exists(to_folder, to_name):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(name, to_name, src_dir_fd=from_folder, dst_dir_fd=to_folder)


def _refused(path: bytes, error: OSError) -> SourceError:
    cure = "make the folder writable, and `done` and `quarantine` folders on its own file system"
    return SourceError("E-WATCH-MOVE", f"{printable(path)} cannot be moved: {error.strerror}: {cure}")
