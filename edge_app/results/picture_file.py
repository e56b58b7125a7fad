"""The picture of a kept answer: a file that has moved since, found again by its sha256."""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from limiar.edge_app.store.reader import Entry
from limiar.edge_app.system.files import read_bounded

IMAGE_BYTES = 256 << 20
_TWINS = ("", *(f"-{number}" for number in range(2, 10)))  # a name in done/ that was taken: intake/settle.py


def picture_of(state: Path, entry: Entry, moved_to: Sequence[str]) -> bytes | None:
    """The bytes that were answered; None if they are not there any more. Raises OSError as `matching` does.

    moved_to: names of the folders into which the service moves files.
    """
    wanted = entry.image_sha256 or entry.kept_sha256
    return matching(places(state, entry, moved_to), wanted) if wanted else None


def matching(paths: Iterable[Path], sha256: bytes) -> bytes | None:
    """The bytes of the first file that has this sha256; None if none has. Raises OSError: the disk fails, or this process."""
    for path in paths:
        try:
            data = read_bounded(path, IMAGE_BYTES)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.EIO):
                raise
            continue
        if hashlib.sha256(data).digest() == sha256:
            return data
    return None


def places(state: Path, entry: Entry, moved_to: Sequence[str]) -> Iterator[Path]:
    """Where it may be: where it was first seen, or in one of those folders in a folder above, under its name or a twin's."""
    if entry.kept is not None:
        if ".." not in PurePosixPath(entry.kept).parts and not entry.kept.startswith("/"):
            yield state / "frames" / entry.kept
    elif entry.path is not None:
        folder = os.fsdecode(entry.path)
        yield Path(folder)
        below = ""
        while (above := os.path.dirname(folder)) != folder:
            below = os.path.join(os.path.basename(folder), below) if below else os.path.basename(folder)
            folder = above
            stem, suffix = os.path.splitext(below)
            for name in moved_to:
                if os.path.isdir(os.path.join(folder, name, os.path.dirname(below))):
                    for twin in _TWINS:
                        yield Path(folder, name, f"{stem}{twin}{suffix}")
