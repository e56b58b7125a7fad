"""inotify(7), over ctypes: which files were written or moved into place. A hint: looking says what is true.

On a network share it says nothing of what other machines do; on any file system it may lose events, and say so.
"""

import contextlib
import ctypes
import os
import struct
from typing import NamedTuple

_MODIFY, _CLOSE_WRITE, _MOVED_TO, _CREATE = 0x2, 0x8, 0x80, 0x100  # linux/inotify.h
_OVERFLOW, _IGNORED, _ONLYDIR, _EXCL_UNLINK, _ISDIR = 0x4000, 0x8000, 0x1000000, 0x4000000, 0x40000000
_MASK = _MODIFY | _CLOSE_WRITE | _MOVED_TO | _CREATE | _ONLYDIR | _EXCL_UNLINK
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, bytes of the name
_AT_ONCE = 1 << 16  # bytes


class Hint(NamedTuple):
    """Something happened to this path; None: look at the whole folder, for more may have happened."""

    path: bytes | None
    moved: bool = False  # a file got this name, and had its content before
    writing: bool = False  # a program here writes it, and has not closed it


class Hints:
    """What happens in folders from now on. Without inotify, or with too many folders for it, there are just fewer hints."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)  # -1: no hints
        self._folders: dict[int, bytes] = {}

    def watch(self, folder: bytes) -> None:
        """Also gives hints about this folder, but not about those in it. A folder that has moved is known by its new path."""
        watch = self._libc.inotify_add_watch(self.descriptor, folder, _MASK)
        if watch >= 0:
            self._folders[watch] = folder

    def take(self) -> list[Hint]:
        """What there is."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self.descriptor, _AT_ONCE)
        hints: list[Hint] = []
        at = 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
            at += _EVENT.size + length
            if mask & _IGNORED:  # the folder is gone
                self._folders.pop(watch, None)
            elif mask & (_OVERFLOW | _ISDIR):
                hints.append(Hint(None))
            elif name and watch in self._folders:
                hints.append(Hint(os.path.join(self._folders[watch], name), bool(mask & _MOVED_TO), bool(mask & _MODIFY)))
        return hints
