"""Importing Keras without its noise, and without losing a Ctrl-C."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


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
