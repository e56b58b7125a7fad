"""What a person sees while a long job runs: one line on stderr that rewrites itself, and notes that stay."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

_QUIET_S = 2.0  # a job that ends sooner shows no progress
_REDRAW_S = 0.1


class Terminal:
    """Progress goes to a terminal alone; notes go to stderr always."""

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty()
        self._next = time.monotonic() + _QUIET_S
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._clear()

    def note(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        print(text, file=sys.stderr)

    def step(self, text: str) -> None:
        """Where the job is now; drawn ten times a second at most."""
        if self._shows and time.monotonic() >= self._next:
            self._next = time.monotonic() + _REDRAW_S
            self._drawn = True
            print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._drawn:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
            self._drawn = False


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps what TensorFlow's C++ writes while it is imported off the terminal; no setting of its own does."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # for what it writes later
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
