"""What C++ libraries write to file descriptor 2 behind Python's back."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def captured_stderr() -> Iterator[list[bytes]]:
    """Keeps the block's stderr from the user; the list holds its lines once the block has ended, also by an error."""
    lines: list[bytes] = []
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            lines.extend(file.readlines())
