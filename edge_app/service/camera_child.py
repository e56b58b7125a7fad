"""A camera of the service, as the service's own process sees it."""

import functools
import time
from pathlib import Path

import msgspec

from limiar.edge_app.camera.deciding import decide
from limiar.edge_app.camera.decisions import Beat, CameraSettings, Decided, Job, Said, Trouble
from limiar.edge_app.inference.model import Model
from limiar.edge_app.system.channel import ParentEnd
from limiar.edge_app.system.children import Child, fork_child

SILENT_S = 5.0  # a process that says nothing for so long has failed: it beats every second, whatever it waits for
_END_S = 1.5  # for its camera to be closed in order

_SAID = msgspec.msgpack.Decoder(Said)


class CameraChild:
    """A camera in a process of its own; it opens a camera that is lost again by itself.

        child = CameraChild(settings, session.model, state / "frames", store.last_sequence(settings.name, boot_id()))
        child.start()
        for said in child.turn():  # Decided | Beat | Trouble | Note
            ...
        if not child.running:  # after a Trouble: start it again later

    Fork it from a process with one thread.
    """

    def __init__(self, settings: CameraSettings, model: Model, frames: Path, after: int) -> None:
        """frames: the folder that has a folder of kept frames for each camera.

        after: the highest sequence number of this camera since boot; its frames get higher ones.
        """
        self.settings = settings
        self._model = model
        self._folder = frames / settings.name
        self._after = after
        self._running: tuple[Child, ParentEnd] | None = None
        self._heard_s = 0.0

    @property
    def running(self) -> bool:
        """Whether it has been started, and was neither lost nor ended since."""
        return self._running is not None

    @property
    def pid(self) -> int:
        """Of its process, while it runs."""
        assert self._running
        return self._running[0].pid

    def start(self) -> None:
        """Starts its process. Raises OSError."""
        job = Job(self.settings, self._model, str(self._folder), self._after)
        self._running = fork_child(functools.partial(decide, job))
        self._heard_s = time.monotonic()

    def fileno(self) -> int:
        """To poll, while it runs."""
        assert self._running
        return self._running[1].fileno()

    def turn(self) -> list[Said]:
        """What it has said since the last turn; at once. If it was lost, a Trouble is the last, and it no longer runs."""
        if self._running is None:
            return []
        child, end = self._running
        try:
            messages = [_SAID.decode(message) for message in end.receive()]
        except (EOFError, msgspec.MsgspecError):
            child.join(0.1)
            return [self._lost(f"ended with {child.exitcode}" if child.exitcode else "ended")]
        if messages:
            self._heard_s = time.monotonic()
        elif time.monotonic() - self._heard_s > SILENT_S:
            return [self._lost(f"made no progress for {SILENT_S:.0f} s")]
        for said in messages:
            if isinstance(said, Beat | Decided):
                self._after = max(self._after, said.sequence)
        return messages

    def _lost(self, how: str) -> Trouble:
        self.kill()
        name = self.settings.name
        return Trouble(name, "E-SERVICE-CAMERA", f"the process of the camera {name} {how}: it is started again")

    def hang_up(self) -> None:
        """Has it end, without waiting: several cameras end at the same time."""
        if self._running:
            self._running[1].close()

    def end(self) -> None:
        """Ends it, and closes its camera."""
        if self._running:
            child, end = self._running
            end.close()
            child.join(_END_S)
            self.kill()

    def kill(self) -> None:
        """Ends it, whatever it is doing; the processes that it started end with it."""
        if self._running:
            child, end = self._running
            end.close()
            child.kill()
            child.join(_END_S)
            self._running = None
