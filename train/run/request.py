"""What to train, and who is told how it goes. Imports no Keras."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from limiar.edge_app.bundle.manifest import DicomWindow, InputSpec
from limiar.train.config import Config, Hosts, configured, input_of
from limiar.train.data.reviewed import Parent
from limiar.train.record.run_folder import Epoch

if TYPE_CHECKING:  # brings Keras
    from limiar.train.fit.fit import RunState


@dataclass(frozen=True)
class TrainRequest:
    """What a person asked for."""

    folder: Path
    out: Path
    table: Path | None  # --csv
    model: str
    input: InputSpec
    recipe: str
    positive: str | None
    seed: int
    config: Config
    resume: bool = False  # --resume: continue, or refuse
    parent: Parent | None = None  # --from and --add
    hosts: Hosts | None = None

    def continuing(self, parent: Parent, config: Config) -> Self:
        """The same, with what the parent decides."""
        run = parent.run
        return replace(
            self,
            parent=parent,
            config=config,
            model=run.model,
            input=run.input,
            recipe=run.recipe,
            positive=run.positive,
        )


@dataclass(frozen=True)
class Listener:
    """Is told how a training goes. The default shows nothing."""

    note: Callable[[str], None] = lambda text: None  # a line for a person
    image: Callable[[int, int], None] = lambda done, total: None  # images read, of how many
    begin: Callable[["RunState"], None] = lambda state: None  # before the first epoch, or the first after an interruption
    epoch: Callable[[Epoch], None] = lambda epoch: None  # trained and kept


SILENT = Listener()


def request_of(
    data: Path,
    out: Path,
    *,
    recipe: str,
    table: Path | None = None,
    model: str | None = None,
    size: tuple[int, int] = (40, 40),
    channels: Literal[1, 3] = 3,
    grey_max: int | None = None,
    dicom_window: DicomWindow | None = None,
    positive: str | None = None,
    seed: int = 0,
    changes: Sequence[str] = (),
) -> TrainRequest:
    """What the keywords of `train_model` and `sweep` ask for. Raises TrainError."""
    return TrainRequest(
        folder=data,
        out=out,
        table=table,
        model=model or ("lenet" if recipe == "course" else "compact"),
        input=input_of(size, channels, grey_max, dicom_window),
        recipe=recipe,
        positive=positive,
        seed=seed,
        config=configured(recipe, changes),
    )
