"""Ctrl-C during a training, which C++ must not swallow."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_heard = False  # of the process, as its signal handlers are


@contextmanager
def insisted() -> Iterator[None]:
    """Within it, Ctrl-C raises KeyboardInterrupt where it arrives, and again at the next `check`.

    TensorFlow's C++ swallows what is raised in Python that it has called back: one Ctrl-C in 60 was lost that way, and the
    training went on to its end. A handler of the caller's own, and other threads than the main one, are left alone.
    """
    global _heard
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return

    def hear(number: int, frame: FrameType | None) -> None:
        global _heard
        _heard = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _heard = False


def check() -> None:
    """Raises KeyboardInterrupt if a Ctrl-C was swallowed."""
    if _heard:
        raise KeyboardInterrupt
