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
