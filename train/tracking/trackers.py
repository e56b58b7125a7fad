"""Figures of a run in TensorBoard and MLflow, if they are asked for."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from limiar.edge_app.errors import LimiarError, TrainError, printable
from limiar.edge_app.text import for_terminal
from limiar.train.fit.fit import RunState
from limiar.train.record.run_folder import Epoch, Run


class Tracker(Protocol):
    """Is told of one run."""

    def begin(self, state: RunState) -> None:
        """Before the first epoch. state: with the epochs that an interrupted run had trained already."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is done and kept."""

    def end(self, run: Run | None) -> None:
        """The RUN is there; or None: it was interrupted or failed."""


class Trackers:
    """All trackers of one run. One that fails during the run is dropped with a note: the run is worth more."""

    def __init__(self, trackers: Sequence[Tracker], note: Callable[[str], None]) -> None:
        self._trackers, self._note = list(trackers), note

    def begin(self, state: RunState) -> None:
        """Nothing is trained yet: raises what they raise."""
        for tracker in self._trackers:
            tracker.begin(state)

    def epoch(self, epoch: Epoch) -> None:
        """Raises nothing."""
        self._each(lambda tracker: tracker.epoch(epoch))

    def end(self, run: Run | None) -> None:
        """Raises nothing."""
        self._each(lambda tracker: tracker.end(run))

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        for tracker in tuple(self._trackers):
            try:
                tell(tracker)
            except Exception as error:  # what foreign packages raise when a disk is full or a server is gone
                self._trackers.remove(tracker)
                reason = error.message if isinstance(error, TrainError) else f"{type(error).__name__}: {error}"
                met = f"{type(tracker).__name__} gets nothing more of this run ({for_terminal(' '.join(reason.split()))[:300]})"
                self._note(str(TrainError("E-TRAIN-TRACKER", f"{met}: the run continues without it")))


def open_trackers(out: Path, tensorboard: Path | None, mlflow: str | None) -> list[Tracker]:
    """The trackers that are asked for. Raises LimiarError if a package is missing, TrainError if a place cannot be used."""
    found: list[Tracker] = []
    if tensorboard is not None:
        found.append(_opened("tensorboard", lambda: _tensorboard(tensorboard, out.name)))
    if mlflow is not None:
        found.append(_opened("mlflow", lambda: _mlflow(mlflow, out)))
    return found


def _opened(extra: str, opening: Callable[[], Tracker]) -> Tracker:
    try:
        return opening()
    except ModuleNotFoundError as error:
        met = f"--{extra} needs {error.name}, which is not installed"
        raise LimiarError("E-INSTALL-MISSING", f"{met}: pip install 'limiar[{extra}]'") from None


def _tensorboard(folder: Path, name: str) -> Tracker:
    from limiar.train.tracking.to_tensorboard import TensorBoard

    try:
        return TensorBoard(folder / name)
    except OSError as error:
        met = f"--tensorboard {printable(str(folder))}: {error.strerror}"
        raise TrainError("E-TRAIN-TRACKER", f"{met}: give a folder that can be written") from None


def _mlflow(place: str, out: Path) -> Tracker:
    from limiar.train.tracking.to_mlflow import MLflow

    return MLflow(place, out)
