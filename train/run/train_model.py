"""`limiar.train_model`: a classifier from images, in one call. Keras is imported when it is called."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from limiar.edge_app.bundle.manifest import DicomWindow
from limiar.edge_app.errors import TrainError, printable
from limiar.train.config import Hosts, check_backend, continued, recipe_of
from limiar.train.data.reviewed import open_parent
from limiar.train.fit.importing import quiet
from limiar.train.record.run_folder import Epoch, Run
from limiar.train.run.request import SILENT, Listener, TrainRequest, request_of

if TYPE_CHECKING:
    from limiar.train.fit.fit import RunState
    from limiar.train.tracking.trackers import Trackers


def train_model(
    data: Path | str,
    out: Path | str,
    *,
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
    quick: bool = False,
    parent: Path | str | None = None,
    reviewed: Path | str | None = None,
    tensorboard: Path | str | None = None,
    mlflow: str | None = None,
    hosts: Hosts | None = None,
    resume: bool = False,
    listener: Listener = SILENT,
) -> Run:
    """Trains a classifier on the images in `data`, writes the new folder `out`, and returns its record, train.json.

    Each keyword is the option of `limiar train` with that name, and has its default; four have other names: `table` (--csv),
    `changes` (--set, "KEY=VALUE" each), `parent` (--from) and `reviewed` (--add). size: (height, width) of the model's input in
    pixels; dicom_window: (centre, width), or "file"; with `parent`, the RUN decides input, model, recipe and positive label.
    What was trained before an interruption is kept beside `out`, and the same call continues from there.

        from limiar import train_model

        run = train_model("images", "run", quick=True)
        print(run.labels, run.best_epoch, run.temperature)
        # `limiar convert run --out bundle` comes next

    Raises DataError (the images), TrainError (options, the training), RunError (`parent`, `out`), and ValueError for keywords
    that exclude each other.
    """
    if hosts is not None and hosts.own:
        raise ValueError(f"host {hosts.own} makes no RUN: call assist_training there")
    check_backend()
    with quiet():
        from limiar.train.run.make_run import make_run
        from limiar.train.tracking.trackers import Trackers, open_trackers

    out = Path(out)
    opened = open_trackers(out, Path(tensorboard) if tensorboard else None, mlflow)  # may wait for a server
    request = _request(
        Path(data),
        out,
        table=table,
        model=model,
        size=size,
        channels=channels,
        grey_max=grey_max,
        dicom_window=dicom_window,
        recipe=recipe,
        positive=positive,
        seed=seed,
        changes=changes,
        quick=quick,
        parent=parent,
        reviewed=reviewed,
    )
    trackers = Trackers(opened, listener.note)
    try:
        run = make_run(replace(request, resume=resume, hosts=hosts), _tracked(listener, trackers))
    except BaseException:
        trackers.end(None)
        raise
    trackers.end(run)
    return run


def assist_training(data: Path | str, out: Path | str, *, hosts: Hosts, listener: Listener = SILENT, **options: Any) -> None:
    """Computes this host's share of a training whose RUN host 0 makes; leaves no file.

    options: the keywords of `train_model`, the same on every host; only host 0 writes to TensorBoard and MLflow. Raises as
    `train_model` does.
    """
    check_backend()
    with quiet():
        from limiar.train.run.make_run import assist

    left_out = ("tensorboard", "mlflow", "resume")
    request = _request(Path(data), own_folder(out, hosts), **{key: options[key] for key in options if key not in left_out})
    assist(replace(request, hosts=hosts), listener)


def own_folder(out: Path | str, hosts: Hosts | None) -> Path:
    """Where this host keeps its checkpoints: hosts may share the folder that `out` is in. Raises TrainError."""
    out = Path(out)
    if hosts is None or not hosts.own:
        return out
    if out.name in ("", ".."):  # "." and "/" have the name ""
        raise TrainError("E-TRAIN-OUT", f"{printable(str(out))} exists: give another --out")
    return out.with_name(f"{out.name}.host-{hosts.own}")


def _tracked(listener: Listener, trackers: "Trackers") -> Listener:
    """Tells the listener, then the trackers."""

    def begin(state: "RunState") -> None:
        listener.begin(state)
        trackers.begin(state)

    def epoch(one: Epoch) -> None:
        listener.epoch(one)
        trackers.epoch(one)

    return replace(listener, begin=begin, epoch=epoch)


def _request(
    data: Path,
    out: Path,
    *,
    changes: Sequence[str] = (),
    recipe: str | None = None,
    model: str | None = None,
    quick: bool = False,
    table: Path | str | None = None,
    parent: Path | str | None = None,
    reviewed: Path | str | None = None,
    **options: Any,
) -> TrainRequest:
    if quick and recipe not in (None, "limiar"):
        raise ValueError(f"quick is the recipe limiar: leave out recipe={recipe!r}, or quick")
    if (parent is None) != (reviewed is None):
        raise ValueError("parent and reviewed belong together")
    request = request_of(
        data,
        out,
        table=Path(table) if table is not None else None,
        model=model,
        recipe=recipe_of(recipe, quick, model),
        changes=() if parent is not None else changes,  # a RUN that is continued has its own numbers, which these change
        **options,
    )
    if parent is None or reviewed is None:
        return request
    start = open_parent(Path(parent), Path(reviewed))
    return request.continuing(start, continued(start.run, changes))
