"""The steps of a conversion: a line on a terminal's stderr says which one it is at, and between them it can be stopped."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from limiar.edge_app.system.progress import ProgressLine


class Steps:
    """One line, cleared at the end. While entered, Ctrl-C and SIGTERM end the work, and its temporary files with it.

    A signal raises where it arrives. TensorFlow's C++ swallows the exception if it has called back into Python (one Ctrl-C in
    ten was lost that way, and the conversion went on), so every note checks again. Outside the main thread,
    signals are left alone.
    """

    def __init__(self, at: Callable[..., None] = lambda text, *files: None) -> None:
        """at: is told each step too, as ToParent.at."""
        self._at = at
        self._line = ProgressLine(after_s=0.0, every_s=0.0)
        self._met: int | None = None
        self._loads = self._waits = False

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        heard = (signal.SIGINT, signal.SIGTERM) if main else ()
        self._before = {number: signal.signal(number, self._hear) for number in heard}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._line.clear()

    def tell(self, text: str) -> None:
        """A line that stays."""
        self._line.clear()
        print(text, file=sys.stderr)

    def note(self, text: str, *files: str) -> None:
        """The next step; files: those that it makes. Raises KeyboardInterrupt or SystemExit(143) if told to stop."""
        self._stop()
        self._at(text, *files)
        self._line.draw(text)

    @contextmanager
    def loading(self, what: str) -> Iterator[None]:
        """For imports. TensorFlow's abort if anything raises, so a signal ends the process: nothing is written yet."""
        self.note(f"loading {what}")
        self._loads = True
        yield
        self._loads = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Publishing is not interrupted: a signal waits until all is written."""
        self._stop()
        self._waits = True
        yield
        self._waits = False
        self._stop()

    def _hear(self, number: int, _: FrameType | None) -> None:
        self._met = number
        if self._loads:
            self._line.clear()
            os._exit(128 + number)
        if not self._waits:
            self._stop()

    def _stop(self) -> None:
        if self._met == signal.SIGINT:
            raise KeyboardInterrupt
        if self._met is not None:
            raise SystemExit(128 + self._met)
