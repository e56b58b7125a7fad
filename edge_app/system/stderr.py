"""What C++ libraries write to file descriptor 2 behind Python's back."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

KEPT = "stderr-"  # how the files begin
kept_in: Path | None = None  # a folder: what is written while a library ends the process is there for whoever started it


@contextlib.contextmanager
def captured_stderr() -> Iterator[list[bytes]]:
    """Keeps the block's stderr from the user; the list holds its lines once the block has ended, also by an error."""
    lines: list[bytes] = []
    sys.stderr.flush()
    saved = os.dup(2)
    with _file() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            lines.extend(file.readlines())


def _file() -> IO[bytes]:
    if kept_in is not None:
        import tempfile  # on the desktop alone

        with contextlib.suppress(OSError):  # full
            return tempfile.NamedTemporaryFile("w+b", prefix=KEPT, dir=kept_in)
    return open(os.memfd_create("stderr"), "w+b")  # a device may have no folder for temporary files


_SILENCE = threading.Lock()  # two threads that put back what they found would leave each other's /dev/null there


@contextlib.contextmanager
def without_stderr() -> Iterator[None]:
    """Keeps the block's stderr from everybody: libtiff says there what its status says too."""
    with _SILENCE:
        sys.stderr.flush()
        try:
            saved = os.dup(2)
        except OSError:  # closed: nothing can be written there
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
