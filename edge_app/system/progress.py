"""One line on stderr for a person who waits: shown after two seconds, and only on a terminal."""

import os
import sys
import time
from typing import Self, TextIO

_AFTER_S = 2.0
_EVERY_S = 0.2


def can_rewrite(stream: TextIO) -> bool:
    """Whether a stream is a terminal that takes the cursor back."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


class Progress:
    """`progress("starts", 3, 20)` rewrites the line; leaving ends it. Use as a context manager."""

    def __init__(self) -> None:
        self._watched = can_rewrite(sys.stderr)
        self._began = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown != self._began:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if self._watched and now - self._began > _AFTER_S and now - self._shown > _EVERY_S:
            self._shown = now
            print(f"\r\x1b[K{what}: {done} of {total}", end="", file=sys.stderr, flush=True)
