"""Folders below a watched one, opened one after another: a link put in place of one of them leads nowhere."""

import contextlib
import os
from collections.abc import Iterator, Sequence

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
