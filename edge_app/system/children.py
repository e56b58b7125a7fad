"""Child processes: forked, so that modules already imported are in memory once; a new Python if this one has several threads.

A fork copies one thread, with the locks that others hold: those of numpy's or TensorFlow's thread pool would hang the child. So
a process with more than one thread, as a program that uses limiar as a library may be, starts another Python instead.

Without multiprocessing, which costs a scan's parent 1 MB and 7 ms for modules that nothing else there needs.
"""

import contextlib
import gc
import importlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from limiar.edge_app.system.channel import ParentEnd, WorkerEnd, channel
from limiar.edge_app.system.python import python_c

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_MOST_DESCRIPTORS = 4096  # tried one by one without /proc: systemd allows a service 524,288, and limiar has under 30
_LOOK_S = 0.005  # how often to check whether a child has ended


class Child:
    """A child process, as its parent sees it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exitcode: int | None = None  # negative: the signal that ended it; None: not ended, or not known
        self._ended = False

    def is_alive(self) -> bool:
        """Whether it still runs."""
        self._wait(os.WNOHANG)
        return not self._ended

    def kill(self) -> None:
        """Kills it, if it has not ended."""
        if self.is_alive():
            os.kill(self.pid, signal.SIGKILL)

    def join(self, timeout_s: float | None = None) -> None:
        """Waits until it has ended, or for so long at most."""
        if timeout_s is None:
            self._wait(0)
            return
        until = time.monotonic() + timeout_s
        while self.is_alive() and time.monotonic() < until:
            time.sleep(_LOOK_S)

    def _wait(self, options: int) -> None:
        if self._ended:
            return
        try:
            ended, status = os.waitpid(self.pid, options)
        except ChildProcessError:  # SIGCHLD is ignored, as some parents leave it: then the kernel keeps no exit status
            self._ended = True
            return
        if ended:
            self._ended, self.exitcode = True, os.waitstatus_to_exitcode(status)
            gc.unfreeze()  # in a program that goes on, what was frozen for it can be garbage by now


def start_child(target: Callable[[WorkerEnd], None], shared: Sequence[int] = ()) -> tuple[Child, ParentEnd]:
    """As `fork_child`, but starts another Python if there are other threads. target: a function at the top of a module."""
    return fork_child(target, shared) if has_one_thread() else spawn_child(target, shared)


def spawn_child(target: Callable[[WorkerEnd], None], shared: Sequence[int] = ()) -> tuple[Child, ParentEnd]:
    """As `fork_child`, but always starts another Python. target: a function at the top of a module.

    For a child that opens the store: SQLite's memory of its own locks must not be carried over a fork
    (sqlite.org/howtocorrupt.html, section 2.6).
    """
    return spawn_named(target.__module__, target.__qualname__, shared)


def spawn_named(module: str, function: str, shared: Sequence[int] = ()) -> tuple[Child, ParentEnd]:
    """As `spawn_child`, for a function in a module that this process does not load."""
    parents_end, end = channel()
    for descriptor in (end.fileno(), *shared):
        os.set_inheritable(descriptor, True)
    words = (str(end.fileno()), str(os.getpid()), module, function)
    command = python_c("from limiar.edge_app.system.children import main; main(*sys.argv[1:])", *words)
    try:
        pid = os.posix_spawn(command[0], command, os.environ)
    except OSError:
        parents_end.close()
        raise
    finally:
        end.close()
        for descriptor in shared:
            os.set_inheritable(descriptor, False)
    return Child(pid), parents_end


def main(descriptor: str, parent: str, module: str, function: str) -> None:
    """The other Python's life."""
    end = WorkerEnd(socket.socket(fileno=int(descriptor)))
    os.set_inheritable(end.fileno(), False)
    _prepare(int(parent))
    target: Callable[[WorkerEnd], None] = getattr(importlib.import_module(module), function)
    target(end)


def fork_child(target: Callable[[WorkerEnd], None], shared: Sequence[int] = ()) -> tuple[Child, ParentEnd]:
    """Forks a process that runs `target` with its end of a channel; returns it and the parent's end. Raises OSError.

    shared: descriptors that stay open in it.
    """
    parents_end, end = channel()
    gc.freeze()  # the collector then leaves shared pages alone
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        parents_end.close()
        end.close()
        raise
    if pid == 0:
        _run(target, end, parents_end, parent, shared)
    end.close()
    return Child(pid), parents_end


def end_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Has the kernel send this process a signal when its parent ends, even if a channel between them is still open."""
    import ctypes  # numpy imports it too

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # the parent has ended already
        os._exit(1)


def _run(
    target: Callable[[WorkerEnd], None], end: WorkerEnd, parents_end: ParentEnd, parent: int, shared: Sequence[int]
) -> NoReturn:
    """The child's life. It ends here, and never runs on into the parent's code."""
    status = 1
    try:
        parents_end.close()
        _close_all_but((end.fileno(), *shared))
        _prepare(parent)
        target(end)
        status = 0
    except BaseException:  # a bug
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _prepare(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group, and the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as SIGINT: it asks a service to read its configuration again
    # numpy would start a thread for every other core, which spins while the parent works: 30 ms of a start on two cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    end_with_parent(parent)


def has_one_thread() -> bool:
    """Whether a fork is safe. Threads of libraries, which Python does not know, count too."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except FileNotFoundError:  # no /proc
        return threading.active_count() == 1


def _close_all_but(kept: Sequence[int]) -> None:
    """Closes inherited files: the parent's end would keep this process alive, and the store's lock keep out the next scan."""
    if 0 not in kept:  # a kept one may be 0, if stdin was closed
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor in _descriptors():
        if descriptor > 2 and descriptor not in kept:
            with contextlib.suppress(OSError):  # the listing's own, closed by now
                os.close(descriptor)


def _descriptors() -> Iterable[int]:
    """The descriptors that are open, or may be."""
    try:
        return map(int, os.listdir("/proc/self/fd"))
    except FileNotFoundError:  # no /proc
        return range(min(os.sysconf("SC_OPEN_MAX"), _MOST_DESCRIPTORS))
