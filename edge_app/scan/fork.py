"""Starts a worker process, early: after what parent and worker both import, and before everything else.

Loading numpy, Pillow, OpenCV and a runtime takes a worker as long as everything that its parent does before the first image, so
the two happen side by side. What was imported before the fork is in memory once for both, as long as neither writes to it.
"""

from limiar.edge_app.inference.child import told
from limiar.edge_app.system.channel import ParentEnd, WorkerEnd
from limiar.edge_app.system.children import Child, start_child


def fork_worker() -> tuple[Child, ParentEnd]:
    """A worker that waits for its Job, and the parent's end of the channel to it. Raises OSError."""
    return start_child(work)


def work(end: WorkerEnd) -> None:
    """The worker's life."""
    with told(end.send):
        from limiar.edge_app.scan import worker  # the parent never needs it

        worker.work(end)
