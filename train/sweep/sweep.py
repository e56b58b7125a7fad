"""`limiar.sweep`: a search for better numbers of the recipe. Keras and Optuna are imported when it is called."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from limiar.edge_app.bundle.manifest import DicomWindow
from limiar.edge_app.errors import LimiarError
from limiar.train.config import check_backend
from limiar.train.fit.importing import quiet
from limiar.train.run.request import SILENT, Listener, TrainRequest, request_of
from limiar.train.sweep.result import SweepResult, SweepTrial, best_of
from limiar.train.sweep.space import parse


def sweep(
    data: Path | str,
    out: Path | str,
    *,
    trials: int = 30,
    vary: Sequence[str] = (),
    table: Path | str | None = None,
    model: Literal["compact", "lenet", "windowed"] | None = None,
    size: tuple[int, int] = (40, 40),
    channels: Literal[1, 3] = 3,
    grey_max: int | None = None,
    dicom_window: DicomWindow | None = None,
    recipe: Literal["standard", "limiar", "reference", "course"] | None = None,
    positive: str | None = None,
    seed: int = 0,
    changes: Sequence[str] = (),
    listener: Listener = SILENT,
    done: Callable[[SweepTrial], None] = lambda trial: None,
) -> SweepResult:
    """Trains with varied numbers until `trials` are done, earlier calls included; the lowest validation loss is best.

    Each keyword is the option of `limiar sweep` with that name, and has its default; `table` is --csv and `changes` --set.
    vary: "KEY=LOW..HIGH" or "KEY=A,B,C" each. done: told of each trial at its end. An interrupted sweep continues in `out`.

        from limiar import sweep

        found = sweep("images", "sweep", trials=10, vary=["rate=1e-4..1e-2"])
        if found.best:
            print(found.best.val_loss, *found.command)

    Raises DataError, TrainError, and LimiarError if Optuna is not installed.
    """
    check_backend()
    recipe = recipe or "limiar"  # thirty trials of the standard recipe would take a night
    request = request_of(
        Path(data),
        Path(out),
        recipe=recipe,
        table=Path(table) if table is not None else None,
        model=model,
        size=size,
        channels=channels,
        grey_max=grey_max,
        dicom_window=dicom_window,
        positive=positive,
        seed=seed,
        changes=changes,
    )
    varied = parse(vary, request.config)
    try:
        with quiet():
            from limiar.train.sweep.trials import run_trials
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        met = "limiar sweep needs optuna, which is not installed"
        raise LimiarError("E-INSTALL-MISSING", f"{met}: pip install 'limiar[sweep]'") from None
    found = run_trials(request, varied, trials, listener, done)
    best = best_of(found)
    return SweepResult(trials=found, best=best, command=_command(request, model, (*changes, *best.settings)) if best else ())


def _command(request: TrainRequest, model: str | None, changes: Sequence[str]) -> tuple[str, ...]:
    """The `limiar train` that trains with these numbers."""
    spec = request.input
    words = ["limiar", "train", str(request.folder), "--out", "RUN"]
    given = {"--csv": request.table, "--model": model, "--positive": request.positive, "--grey-max": spec.grey_max or None}
    given["--dicom-window"] = spec.dicom.option if spec.dicom else None
    words += [word for name, value in given.items() if value is not None for word in (name, str(value))]
    words += ["--size", f"{spec.height}x{spec.width}", "--channels", str(spec.channels)]
    words += ["--recipe", request.recipe, "--seed", str(request.seed)]
    return (*words, *(word for change in changes for word in ("--set", change)))
