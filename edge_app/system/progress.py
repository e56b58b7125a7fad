"""One line on stderr for a person who waits."""

import os
import sys
import time
from typing import Self, TextIO

_AFTER_S = 2.0
_EVERY_S = 0.2


def can_rewrite(stream: TextIO) -> bool:
    """Whether a stream is a terminal that takes the cursor back."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


class Line:
    """A line on stderr that is drawn again, on a terminal alone. Clear it before anything else is printed there."""

    def __init__(self) -> None:
        self.shows = sys.stderr is not None and can_rewrite(sys.stderr)
        self._drawn = False

    def draw(self, text: str) -> None:
        """Replaces what the line said."""
        if self.shows:
            self._drawn = True
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Takes the line away."""
        if self._drawn:
            self._drawn = False
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class Progress:
    """`progress("starts", 3, 20)` draws the line, after two seconds; leaving clears it. Use as a context manager."""

    def __init__(self) -> None:
        self._line = Line()
        self._began = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.clear()

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._began > _AFTER_S and now - self._shown > _EVERY_S:
            self._shown = now
            self._line.draw(f"{what}: {done} of {total}")
