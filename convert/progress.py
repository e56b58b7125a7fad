"""What a person sees while convert works: a line on stderr that is rewritten, on a terminal alone; and how it is stopped."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self


class Progress:
    """One line, that is cleared at the end. While entered, Ctrl-C and SIGTERM end the work, temporary files and all.

    A signal raises where it hits. TensorFlow's C++ swallows that where it has called back into Python (one Ctrl-C in ten was
    lost so, and the conversion went on), so every note asks again.
    """

    def __init__(self, at: Callable[..., None] = lambda text, *files: None) -> None:
        """at: is told too what is done next, as Child.at."""
        self._at = at
        self._shows = sys.stderr.isatty()
        self._met: int | None = None
        self._loads = self._waits = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._show("")

    def tell(self, text: str) -> None:
        """A line that stays."""
        self._show("")
        print(text, file=sys.stderr)

    def note(self, text: str, *files: str) -> None:
        """What is done next; files: that it makes. Raises KeyboardInterrupt, or SystemExit with 143, where it is to stop."""
        self._stop()
        self._at(text, *files)
        self._show(text)

    @contextmanager
    def loading(self, what: str) -> Iterator[None]:
        """Imports: TensorFlow's abort where something raises on the way, and nothing is there yet that could be left behind."""
        self.note(f"loading {what}")
        self._loads = True
        yield
        self._loads = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What is published appears whole: a signal waits until it has."""
        self._stop()
        self._waits = True
        yield
        self._waits = False
        self._stop()

    def _hear(self, number: int, _: FrameType | None) -> None:
        self._met = number
        if self._loads:
            self._show("")
            os._exit(128 + number)
        if not self._waits:
            self._stop()

    def _stop(self) -> None:
        if self._met == signal.SIGINT:
            raise KeyboardInterrupt
        if self._met is not None:
            raise SystemExit(128 + self._met)

    def _show(self, text: str) -> None:
        if self._shows:
            print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
