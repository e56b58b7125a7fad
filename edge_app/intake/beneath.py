"""Folders below a watched one, opened one after another: a link put in place of one of them leads nowhere."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator, Sequence

# linux/magic.h: FAT, exFAT and FUSE (sshfs, NTFS) number a file anew when the kernel has forgotten it.
_WITHOUT_INODES = frozenset({0x4D44, 0x2011BAB0, 0x65735546})
_STATFS_BYTES = 256  # of struct statfs, at most
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextlib.contextmanager
def folder_beneath(root: bytes, names: Sequence[bytes], make: bool = False) -> Iterator[int]:
    """A descriptor of the folder root/NAME/NAME/…; make: creates what is missing. Raises OSError, also if a NAME is a link.

    The root itself may be a link, since a person gave it.
    """
    folder = os.open(root, _FOLDER)
    try:
        for name in names:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=folder)
            inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def parts(root: bytes, path: bytes) -> list[bytes]:
    """The names that lead from a watched folder to a file in it, the file's last."""
    return path[len(os.path.join(root, b"")) :].split(b"/")


def has_inodes(folder: bytes) -> bool:
    """Whether a file keeps its inode number as long as it exists. Where that is not known: yes."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if ctypes.CDLL(None).statfs(folder, buffer) != 0:
        return True
    kind = int.from_bytes(buffer.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder) & 0xFFFFFFFF
    return kind not in _WITHOUT_INODES
