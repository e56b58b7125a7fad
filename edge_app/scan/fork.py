"""Starts a scan's worker processes early: before everything that only their parent needs.

Loading numpy, Pillow, OpenCV and a runtime takes a worker longer than everything that its parent does before the first image,
so the two run side by side. The command starts a worker even before it reads its options.
"""

import contextlib
import gc
from collections.abc import Iterator

from limiar.edge_app.system.channel import ParentEnd, WorkerEnd
from limiar.edge_app.system.children import Child, start_child

_ahead: list[tuple[Child, ParentEnd]] = []  # workers that no scan has taken yet


@contextlib.contextmanager
def worker_ahead() -> Iterator[None]:
    """Starts a worker for the first scan within; it ends if there is none, as after a wrong option."""
    with contextlib.suppress(OSError):  # the scan will say what is lacking
        _ahead.append(start_child(work))
    try:
        yield
    finally:
        for process, end in _ahead:
            process.kill()
            process.join()
            end.close()
        _ahead.clear()


def fork_worker() -> tuple[Child, ParentEnd]:
    """A worker that waits for its Job, and the parent's end of the channel to it. Raises OSError."""
    return _ahead.pop() if _ahead else start_child(work)


def work(end: WorkerEnd) -> None:
    """The worker's life."""
    gc.disable()  # what is imported stays: to look through it again and again takes 3 ms
    # Imported here, since the command starts a worker before it has imported anything.
    from limiar.edge_app.inference.child import told

    with told(end.send):
        from limiar.edge_app.scan import worker

        gc.freeze()
        gc.enable()
        worker.work(end)
