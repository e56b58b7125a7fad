"""The result of a sweep. Imports neither Keras nor Optuna."""

from typing import Literal

import msgspec

Ending = Literal["complete", "pruned", "failed"]


class SweepTrial(msgspec.Struct, frozen=True):
    """One trial, as `--json` writes it."""

    number: int  # in the order of their ends, from 1
    state: Ending  # "failed": the loss was not a number
    settings: tuple[str, ...]  # as --set takes them
    epochs: int  # trained
    val_loss: float | None  # of the epoch that would be kept, nats; of a pruned one the best so far
    val_accuracy: float | None  # of the same epoch


class SweepResult(msgspec.Struct, frozen=True, kw_only=True):
    """The sweep, as `--json` writes it."""

    schema: Literal[1] = 1
    trials: tuple[SweepTrial, ...]
    best: SweepTrial | None
    command: tuple[str, ...]  # that trains the best trial's network; () if none is complete


def best_of(trials: tuple[SweepTrial, ...]) -> SweepTrial | None:
    """The complete trial with the lowest validation loss."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.val_loss is not None]
    return min(complete, key=lambda trial: trial.val_loss or 0.0, default=None)
