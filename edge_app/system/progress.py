"""What a person sees who waits: one line on stderr, on a terminal alone."""

import os
import sys
import time
from typing import Self, TextIO

_AFTER_S = 2.0  # work that ends sooner needs no progress
_EVERY_S = 0.2


def _can_rewrite(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal that takes the cursor back."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


class ProgressLine:
    """A line that is drawn over itself, and cleared at the end: what is printed next starts at the margin.

    with ProgressLine() as line:
        for number, image in enumerate(images):
            line.draw(f"images: {number} of {len(images)}")
    """

    def __init__(self, shown: bool = True, after_s: float = _AFTER_S, every_s: float = _EVERY_S) -> None:
        """shown: False draws nothing, as --quiet asks. after_s: before the first drawing; every_s: between two."""
        self.shows = shown and _can_rewrite(sys.stderr)
        self._every_s = every_s
        self._due_s = time.monotonic() + after_s
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def draw(self, text: str) -> None:
        """Shows a text in place of the last one, if it is time; what the terminal is too narrow for is left out."""
        now_s = time.monotonic()
        if not self.shows or now_s < self._due_s:
            return
        self._due_s = now_s + self._every_s
        self._drawn = True
        _write(f"\r\x1b[K{text[: _columns() - 1]}")

    def clear(self) -> None:
        """Takes the line away, so that something else can be printed; `draw` may follow."""
        if self._drawn:
            self._drawn = False
            _write("\r\x1b[K")


def _write(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80
