"""Child processes, forked: what was imported before is in memory once, and nothing else of the parent's stays open."""

import contextlib
import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import TypeVar

from limiar.edge_app.system.channel import ParentEnd, WorkerEnd

_CONTEXT = multiprocessing.get_context("fork")  # 5 ms, and shares what is imported; spawn takes 60
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_MOST_DESCRIPTORS = 4096  # that are looked for one by one: systemd allows a service 524,288, and limiar has under 30
_End = TypeVar("_End", WorkerEnd, Connection)


def fork_child(target: Callable[[Connection], None]) -> tuple[ForkProcess, Connection]:
    """A process that runs `target` with its end of a pipe, and the parent's end."""
    connection, child = _CONTEXT.Pipe()
    return forked(target, child, connection), connection


def end_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """The kernel sends this process a signal when its parent `parent` ends, whatever is still open between them."""
    import ctypes  # numpy imports it too

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def forked(target: Callable[[_End], None], end: _End, parents_end: ParentEnd | Connection) -> ForkProcess:
    gc.freeze()  # the collector leaves alone what is shared
    process = _CONTEXT.Process(target=_child, args=(target, end, parents_end, os.getpid()), daemon=True)
    process.start()
    end.close()
    return process


def _child(target: Callable[[_End], None], end: _End, parents_end: ParentEnd | Connection, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group, and the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # numpy would start a thread for every other core, which spins where the parent works: 30 ms of a start on two cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Nothing else of the parent's stays open here: its end would keep this process alive after it, and the store's lock would
    # keep the next scan out.
    parents_end.close()
    for descriptor in _descriptors():
        if descriptor > 2 and descriptor != end.fileno():
            with contextlib.suppress(OSError):  # the listing's own, closed by now
                os.close(descriptor)
    end_with_parent(parent)
    target(end)


def _descriptors() -> Iterable[int]:
    """Those that are open, or may be."""
    try:
        return map(int, os.listdir("/proc/self/fd"))
    except FileNotFoundError:  # no /proc
        return range(min(os.sysconf("SC_OPEN_MAX"), _MOST_DESCRIPTORS))
