"""What a person sees while a long job runs: one line on stderr that rewrites itself, and notes that stay."""

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

_QUIET_S = 2.0  # a job that ends sooner shows no progress
_REDRAW_S = 0.1
_LINE_S = 10.0  # between lines where nobody can redraw one: a log, a pipe
_WORTH_SAYING_S = 20.0  # a training that ends sooner needs no estimate


class Terminal:
    """Progress on stderr: a line that is drawn again on a terminal, now and then a new one elsewhere. Notes stay."""

    def __init__(self, quiet: bool = False) -> None:
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._quiet = quiet
        self._next = time.monotonic() + (_QUIET_S if self._terminal else _LINE_S)
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._clear()

    def note(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        print(text, file=sys.stderr, flush=True)

    def step(self, text: str, due: bool = False) -> None:
        """Where the job is now. due: a pipe gets it also where the last line is not ten seconds old."""
        now = time.monotonic()
        if self._quiet or (now < self._next and not (due and not self._terminal)):
            return
        if self._terminal:
            self._next, self._drawn = now + _REDRAW_S, True
            print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
        else:
            self._next = now + _LINE_S
            print(text, file=sys.stderr, flush=True)

    def told(self, text: str) -> None:
        """A note that only who wants progress wants."""
        if not self._quiet:
            self.note(text)

    def _clear(self) -> None:
        if self._drawn:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
            self._drawn = False


class Epochs:
    """The epochs of a training, and how long the rest of them takes."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._most = self._first = self._quick = 0
        self._started = 0.0  # when the first epoch was done: that one also compiles

    def begin(self, done: int, most: int, quick: int) -> None:
        """Before the first epoch, or the first after an interruption. most: epochs in all; quick: fewer, or 0."""
        self._first, self._most, self._quick = done + 1, most, quick

    def epoch(self, number: int, figures: str) -> None:
        """One is done."""
        now = time.monotonic()
        if number == self._first:
            self._started = now
        left = ""
        if number > self._first:
            each = (now - self._started) / (number - self._first)
            left_s = each * (self._most - number)
            left = f"  {duration(left_s)} left" if left_s else ""
            if number == self._first + 1 and left_s >= _WORTH_SAYING_S:
                quick = f"; --quick takes {duration(each * self._quick)}" if self._quick else ""
                self._terminal.told(f"{self._most} epochs of {each:.2g} s: about {duration(left_s)} from now{quick}")
        self._terminal.step(f"epoch {number}/{self._most}  {figures}{left}", due=number in (self._first, self._most))


def duration(seconds: float) -> str:
    """For a person: "40 s", "8 min", "2.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def quiet() -> Iterator[None]:
    """For the seconds in which Keras is imported: no Ctrl-C is lost, and what TensorFlow's C++ writes does not show.

    Ctrl-C waits for the end: nothing that may take long belongs in here.

    No setting of TensorFlow's own keeps it off the terminal.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # for what it writes later
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with _ctrl_c_after():
            yield
            _forget_jax()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _ctrl_c_after() -> Iterator[None]:
    """Ctrl-C interrupts at the end: Python passes over what is raised in a callback of the garbage collection."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield  # nobody's Ctrl-C
        return
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt


def _forget_jax() -> None:
    """Takes JAX's callback out of the garbage collection where another backend trains: a Ctrl-C in there would be lost."""
    jax, keras = sys.modules.get("jax._src.lib"), sys.modules.get("keras")
    callback = getattr(jax, "_xla_gc_callback", None)
    if callback in gc.callbacks and keras and keras.backend.backend() != "jax":
        gc.callbacks.remove(callback)
