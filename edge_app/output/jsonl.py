"""JSON lines: into a pipe as soon as they are committed, or into a file that appears whole."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from limiar.edge_app.errors import OutputClosed
from limiar.edge_app.output.files import OutputFile
from limiar.edge_app.output.lines import json_lines


class JsonStream:
    """Writes JSON lines to stdout, each group as soon as it is committed."""

    def write(self, lines: Sequence[Struct]) -> None:
        """Raises OutputClosed if the reader has closed its end."""
        try:
            left = memoryview(json_lines(lines))
            while left:  # with PYTHONUNBUFFERED=1 this is the raw file, where a signal can end a write halfway
                left = left[sys.stdout.buffer.write(left) or 0 :]
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains about the pipe again when it ends
            raise OutputClosed from None

    def close(self) -> None:
        pass  # every group was flushed


class JsonFile:
    """Writes JSON lines to a file. Raises OutputError."""

    def __init__(self, path: Path) -> None:
        self._whole = OutputFile(path)

    def write(self, lines: Sequence[Struct]) -> None:
        self._whole.write(json_lines(lines))

    def close(self) -> None:
        self._whole.close()

    def discard(self) -> None:
        """Leaves the file as it was."""
        self._whole.discard()
