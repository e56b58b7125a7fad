"""The cameras of a service: each is a child process, started again when it dies; what they decide is kept."""

from collections.abc import Callable
from pathlib import Path

from limiar.edge_app.camera.decisions import Beat, CameraSettings, Decided, Note, Said, Trouble
from limiar.edge_app.camera.messages import Roi
from limiar.edge_app.health.log import Log
from limiar.edge_app.health.meters import Meters
from limiar.edge_app.inference.model import Model
from limiar.edge_app.service.backoff import Backoff
from limiar.edge_app.service.camera_child import CameraChild
from limiar.edge_app.service.config import CameraSection
from limiar.edge_app.store.writer import Agreement, Kept, Store
from limiar.edge_app.system.clock import boot_id


class Cameras:
    """All cameras of a service. Use as a context manager: leaving ends their processes."""

    def __init__(
        self, sections: tuple[CameraSection, ...], model: Model, store: Store, state: Path, meters: Meters, log: Log
    ) -> None:
        """state: the state folder, which holds the kept frames. Raises StoreError."""
        self._frames = state / "frames"
        self._store = store
        self._meters = meters
        self._log = log
        self._boot_id = boot_id()
        self.accepts: Callable[[], bool] = lambda: True  # whether there is room for new work
        self._children = [
            (CameraChild(settings, model, self._frames, store.last_sequence(settings.name, self._boot_id)), Backoff())
            for settings in map(_settings, sections)
        ]

    def __enter__(self) -> "Cameras":
        return self

    def __exit__(self, *_: object) -> None:
        for child, _backoff in self._children:
            child.hang_up()
        for child, _backoff in self._children:
            child.end()

    def turn(self) -> int:
        """Keeps what was decided since the last turn, and starts what is due; returns the number of decisions.

        Raises StoreError.
        """
        decisions = 0
        for child, backoff in self._children:
            name = child.settings.name
            if not child.running and backoff.due:
                backoff.started()
                child.start()
                self._meters.process(f"camera {name}", "starting", child.pid, backoff.restarts)
            was = child.running
            pid = child.pid if was else None
            for said in child.turn():
                decisions += self._heard(name, said, pid, backoff.restarts)
            if was and not child.running:
                backoff.failed()
                self._meters.process(f"camera {name}", "waiting", restarts=backoff.restarts)
        return decisions

    def _heard(self, name: str, said: Said, pid: int | None, restarts: int) -> int:
        """Deals with a message; returns 1 if it was a decision."""
        match said:
            case Decided() as decided:
                if self.accepts():
                    self._keep(decided)
                    return 1
            case Beat() as beat:
                for code, count in beat.refused.items():
                    for _ in range(count):
                        self._meters.refused(name, code)
                if beat.watching:
                    self._log.over(f"camera {name}", f"camera {name} gives frames again")
                    self._meters.source_state(name, "ok")
                    self._meters.process(f"camera {name}", "running", pid, restarts)
            case Trouble(_, code, message):
                self._log.state(f"camera {name}", "error", code, message)
                self._meters.source_state(name, "failed", code, message)
            case Note(_, message):
                self._log.info("I-CAMERA", f"{name}: {message}")
        return 0

    def _keep(self, decided: Decided) -> None:
        vote = decided.vote
        kept = Kept(decided.kept.name, decided.kept.sha256) if decided.kept else None
        self._store.add_frame(
            decided.source,
            self._boot_id,
            decided.sequence,
            decided.dropped,
            decided.answer,
            Agreement(vote.frames, vote.agreeing, vote.spread),
            kept,
        )
        self._meters.answered(decided.source, decided.answer.decision, decided.answer.ms.infer, self._store.sequence)


def _settings(section: CameraSection) -> CameraSettings:
    return CameraSettings(
        name=section.name,
        source=section.source,
        agree=section.agree,
        of=section.of,
        every_s=section.every_s,
        roi=Roi(*section.roi) if section.roi else None,
        size=section.size,
        rate_hz=section.rate_hz,
        pixel_format=section.pixel_format,
        keep=section.keep,
        keep_what=section.keep_what,
    )
