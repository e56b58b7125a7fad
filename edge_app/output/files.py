"""An output file: it appears under its name when it is closed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limiar.edge_app.errors import OutputError, printable
from limiar.edge_app.system.files import WholeFile


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Raises OutputError, with the system's reason, if the block cannot create or write `path`."""
    try:
        yield
    except OSError as error:
        met = f"{printable(str(path))}: {error.strerror}"
        raise OutputError("E-OUTPUT-WRITE", f"{met}: give a path that can be written") from None


class OutputFile:
    """A file that appears under its name when it is closed. Raises OutputError if it cannot be written.

    If a write fails (the disk is full), the earlier file stays: half of the lines could be taken for all of them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = False
        with writable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = WholeFile(path)

    def write(self, data: bytes) -> None:
        self._failed = True
        with writable(self._path):
            self._file.write(data)
        self._failed = False

    def close(self) -> None:
        if self._failed:
            self._file.discard()
            return
        with writable(self._path):
            self._file.publish()

    def discard(self) -> None:
        """Leaves what was there before."""
        self._file.discard()
