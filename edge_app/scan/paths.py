"""Files, folders and lists on a stream -> paths, as bytes: a file name need not be UTF-8."""

import codecs
import os
import select
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from limiar.edge_app.errors import SourceError
from limiar.edge_app.image.folder import Choice, Found, is_picture_name, walk

_LISTED_BYTES = 64 << 10  # at most, of one path in a list; Linux accepts 4,096
_TURN_S = 0.05  # a walk that finds nothing gives the caller a turn after so long


class Files:
    """The paths to answer: folders recursively, in name order; a file given by name is always tried.

    None passes through: there is no path yet. passed: called with each file or folder that is passed over.
    without: folders that are not entered, because this run writes its pictures there.
    """

    def __init__(
        self,
        paths: Iterable[bytes | None],
        choice: Choice,
        passed: Callable[[Found], None],
        without: Sequence[Path] = (),
    ) -> None:
        self._paths = paths
        self._choice = choice
        self._passed = passed
        self._without = tuple(os.path.realpath(os.fsencode(folder)) for folder in without)

    def __iter__(self) -> Iterator[bytes | None]:
        for path in self._paths:
            # A folder named like an image is refused like one, not entered.
            # The name is looked at first: that takes a third of the time that the disk takes to say what the file is.
            if path and not is_picture_name(path) and os.path.isdir(path):
                yield from self._walk(path)
            else:
                yield path

    def _walk(self, folder: bytes) -> Iterator[bytes | None]:
        turn_at = time.monotonic() + _TURN_S
        for found in walk(folder, self._choice, self._without):
            if found.kind is None:
                yield found.path
            else:
                self._passed(found)
                if time.monotonic() < turn_at:
                    continue
                yield None
            turn_at = time.monotonic() + _TURN_S


def listed(stream: BinaryIO, separator: bytes) -> Iterator[bytes | None]:
    """Paths from a stream as they arrive; None while there is none, since the program that writes them may take its time.

    Names with a newline need NUL as separator. Of a list from Windows, the mark at its start and the carriage returns at the
    ends of its lines belong to no path, unless there is a file of that name. Raises SourceError if no separator comes.
    """
    rest, first = b"", True
    while True:
        if not select.select([stream], [], [], 0)[0]:
            yield None
            continue
        block = os.read(stream.fileno(), 1 << 16)
        if not block:
            break
        *paths, rest = (rest + block).split(separator)
        for path in paths:
            yield from filter(None, [_path(path, separator, first)])
            first = False
        if len(rest) > _LISTED_BYTES:
            met = f"a path in the list has over {_LISTED_BYTES >> 10} KiB"
            raise SourceError("E-SOURCE-LIST", f"{met}: separate paths by line ends and give -, or by NUL and give -0")
    yield from filter(None, [_path(rest, separator, first)])


def _path(line: bytes, separator: bytes, first: bool) -> bytes:
    if separator == b"\n" and line.endswith(b"\r") and not os.path.lexists(line):
        line = line[:-1]
    if first and line.startswith(codecs.BOM_UTF8) and not os.path.lexists(line):
        line = line[len(codecs.BOM_UTF8) :]
    return line
