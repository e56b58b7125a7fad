"""Starts a worker process, early: after what parent and worker both import, and before all else.

Loading numpy, Pillow, OpenCV and a runtime takes a worker as long as all that its parent does before the first image; so the
two happen side by side. What was imported before the fork is in memory once for both, as long as nobody touches it.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

_CONTEXT = multiprocessing.get_context("fork")  # 5 ms, and shares what is imported; spawn takes 60


def fork_worker() -> tuple[ForkProcess, Connection]:
    """A worker that waits for its Job, and the parent's end of the pipe to it."""
    return fork_child(_work)


def fork_child(target: Callable[[Connection], None]) -> tuple[ForkProcess, Connection]:
    """A process that runs `target` with its end of a pipe, and the parent's end."""
    gc.freeze()  # the collector leaves alone what is shared
    connection, child = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_child, args=(target, child), daemon=True)
    process.start()
    child.close()
    return process, connection


def _child(target: Callable[[Connection], None], connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group, and the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Nothing else of the parent's stays open here: its end of the pipe would keep this worker alive after it, and the
    # store's lock would keep the next scan out.
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor != connection.fileno():
            with contextlib.suppress(OSError):  # the listing's own, closed by now
                os.close(descriptor)
    target(connection)


def _work(connection: Connection) -> None:
    from edge_app.worker import work  # what the parent does without

    work(connection)
