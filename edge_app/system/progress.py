"""A progress line on stderr, only on a terminal."""

import os
import sys
import time
from typing import Self, TextIO

_AFTER_S = 2.0  # work that ends sooner needs no progress
_EVERY_S = 0.2


def _can_rewrite(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal that can redraw a line."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


class ProgressLine:
    """A line that is redrawn in place, and cleared at the end so that the next output starts at the margin.

    with ProgressLine() as line:
        for number, image in enumerate(images):
            line.draw(f"images: {number} of {len(images)}")
    """

    def __init__(self, shown: bool = True, after_s: float = _AFTER_S, every_s: float = _EVERY_S) -> None:
        """shown: False draws nothing, as for --quiet. after_s: wait before the first drawing; every_s: wait between two."""
        self.shows = shown and _can_rewrite(sys.stderr)
        self._every_s = every_s
        self._due_s = time.monotonic() + after_s
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def draw(self, text: str) -> None:
        """Shows a text in place of the last one, if it is time; cuts it to the width of the terminal."""
        now_s = time.monotonic()
        if not self.shows or now_s < self._due_s:
            return
        self._due_s = now_s + self._every_s
        self._drawn = True
        _write(f"\r\x1b[K{text[: _columns() - 1]}")

    def clear(self) -> None:
        """Removes the line, so that something else can be printed; `draw` may be called again."""
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
