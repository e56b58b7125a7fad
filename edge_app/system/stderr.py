"""Catches what C and C++ libraries write to file descriptor 2, bypassing Python's sys.stderr."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

KEPT = "stderr-"  # the start of the files' names
kept_in: Path | None = None  # a folder: if a library ends the process, its parent finds the output there


@contextlib.contextmanager
def captured_stderr() -> Iterator[list[bytes]]:
    """Hides the block's stderr; its lines are in the list once the block has ended, even with an error."""
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
        import tempfile  # only on the desktop

        with contextlib.suppress(OSError):  # full
            return tempfile.NamedTemporaryFile("w+b", prefix=KEPT, dir=kept_in)
    return open(os.memfd_create("stderr"), "w+b")  # a device may lack a folder for temporary files


_SILENCE = threading.Lock()  # without it, one thread could save and restore the other's /dev/null


@contextlib.contextmanager
def without_stderr() -> Iterator[None]:
    """Discards the block's stderr: libtiff writes messages there that its status already says."""
    with _SILENCE:
        sys.stderr.flush()
        try:
            saved = os.dup(2)
        except OSError:  # it is closed
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
