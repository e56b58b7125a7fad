"""Figures of every epoch as TensorBoard reads them: `tensorboard --logdir DIR`."""

from pathlib import Path

import msgspec
from tensorboard.summary import Writer

from limiar.train.fit.fit import RunState
from limiar.train.record.run_folder import Epoch, Run


class TensorBoard:
    """Event files in a folder of the run's own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._earlier = any(folder.glob("events.out.tfevents.*"))
        self._writer = Writer(str(folder))

    def begin(self, state: RunState) -> None:
        """Epochs of an interrupted run are there already, except the last one if a kill came before it was written."""
        for epoch in state.history[-1:] if self._earlier else state.history:
            self.epoch(epoch)

    def epoch(self, epoch: Epoch) -> None:
        """A point of every curve."""
        for name, value in msgspec.structs.asdict(epoch).items():
            if name != "epoch":
                self._writer.add_scalar(name, value, step=epoch.epoch)
        self._writer.flush()

    def end(self, run: Run | None) -> None:
        """Closes the file: TensorBoard has no mark for the end of a run."""
        self._writer.close()
