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
    """For the seconds that importing Keras takes: no Ctrl-C is lost, and what TensorFlow's C++ writes is not shown.

    No setting of TensorFlow's keeps it off the terminal. Ctrl-C waits until the end, so nothing slow belongs in here.
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
    """Delays Ctrl-C to the end: Python ignores what is raised in a callback of the garbage collector."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield  # no Ctrl-C arrives here
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
    """Removes JAX's garbage collection callback if another backend trains: a Ctrl-C in it would be lost."""
    jax, keras = sys.modules.get("jax._src.lib"), sys.modules.get("keras")
    callback = getattr(jax, "_xla_gc_callback", None)
    if callback in gc.callbacks and keras and keras.backend.backend() != "jax":
        gc.callbacks.remove(callback)
