"""Files, folders and lists on a stream -> paths, as bytes: a file name need not be UTF-8."""

import os
import select
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from edge_app.containers import IMAGE_EXTENSIONS


class Files:
    """The paths to answer: a folder recursively, in name order; `skipped` counts what is no image by name.

    None passes through: nothing is there yet.
    """

    def __init__(self, paths: Iterable[bytes | None]) -> None:
        self._paths = paths
        self.skipped = 0

    def __iter__(self) -> Iterator[bytes | None]:
        for path in self._paths:
            # A folder that is called like an image is refused like one, not entered.
            if path and os.path.isdir(path) and not _is_image(path):
                yield from self._walk(path)
            else:
                yield path

    def _walk(self, folder: bytes) -> Iterator[bytes]:
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            yield folder  # refused with the reason when it is opened
            return
        for entry in found:
            if _is_image(entry.name):
                yield entry.path
            elif entry.is_dir(follow_symlinks=False):
                yield from self._walk(entry.path)
            else:
                self.skipped += 1


def listed(stream: BinaryIO, separator: bytes) -> Iterator[bytes | None]:
    """Paths from a stream as they come, None while none is there: whoever writes them may take its time.

    A newline in a name needs the separator NUL.
    """
    rest = b""
    while True:
        if not select.select([stream], [], [], 0)[0]:
            yield None
            continue
        block = os.read(stream.fileno(), 1 << 16)
        if not block:
            break
        *paths, rest = (rest + block).split(separator)
        yield from filter(None, paths)
    if rest:
        yield rest


def _is_image(name: bytes) -> bool:
    return os.fsdecode(os.path.splitext(name)[1]).lower() in IMAGE_EXTENSIONS
