"""Files, folders and lists on a stream -> paths, as bytes: a file name need not be UTF-8."""

import os
import select
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from edge_app.containers import IMAGE_EXTENSIONS


class Files:
    """The paths to answer: a folder recursively, in name order; `skipped` counts what is no image by name.

    None passes through: nothing is there yet. without: a folder that is not entered, since what is answered is written there.
    """

    def __init__(self, paths: Iterable[bytes | None], without: Path | None = None) -> None:
        self._paths = paths
        self._without = os.path.realpath(os.fsencode(without)) if without else None
        self.skipped = 0

    def __iter__(self) -> Iterator[bytes | None]:
        for path in self._paths:
            # A folder that is called like an image is refused like one, not entered.
            if path and os.path.isdir(path) and not _is_image(path):
                yield from self._walk(path)
            else:
                yield path

    def _walk(self, folder: bytes) -> Iterator[bytes]:
        left: list[os.DirEntry[bytes]] = []  # the next one last: folders may lie deeper than Python recurses
        while True:
            try:
                with os.scandir(folder) as entries:
                    left += sorted(entries, key=lambda entry: entry.name, reverse=True)
            except OSError:
                yield folder  # refused with the reason when it is opened
            while left:
                entry = left.pop()
                if _is_image(entry.name):
                    yield entry.path
                elif not entry.is_dir(follow_symlinks=False):
                    self.skipped += 1
                elif not (self._without and os.path.realpath(entry.path) == self._without):
                    folder = entry.path
                    break
            else:
                return


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
