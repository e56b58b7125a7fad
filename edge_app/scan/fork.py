"""Starts a worker process early: after the imports that parent and worker share, and before everything else.

Loading numpy, Pillow, OpenCV and a runtime takes a worker as long as everything that its parent does before the first image, so
the two run side by side. Modules imported before the fork are in memory once for both, as long as neither writes to them.
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
        from limiar.edge_app.scan import worker  # only needed in the worker

        worker.work(end)
