"""`limiar train` and `limiar phantoms`. Keras and numpy are imported when a command runs, not for --help."""

import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from limiar.edge_app.errors import TrainError, printable
from limiar.edge_app.text import counted

if TYPE_CHECKING:
    from limiar.edge_app.bundle.manifest import InputSpec
    from limiar.train.config import Hosts
    from limiar.train.fit.fit import Epoch, State
    from limiar.train.record.run_folder import Run
    from limiar.train.run import Request


def _size(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, int]:
    """`40` or `48x32` -> (height, width) in pixels. Whether a network can be built for it is said later."""
    sides = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", value)
    if not sides:
        raise click.BadParameter(f"{value!r} is neither a number of pixels nor HEIGHTxWIDTH.")
    return int(sides[1]), int(sides[2] or sides[1])


size_option = click.option(
    "--size", callback=_size, metavar="N|HxW", default="40", show_default=True, help="Of the model's input, pixels."
)
channels_option = click.option(
    "--channels", type=click.Choice(["1", "3"]), default="3", show_default=True, help="1: grey; 3: colour."
)
grey_max_option = click.option(
    "--grey-max",
    type=click.IntRange(256, 65_535),
    metavar="N",
    help="Largest value of 16-bit images that do not declare their range, such as 4095 of 12 bits.",
)
_MODEL_OPTIONS = (
    click.option("--csv", "table", type=click.Path(path_type=Path), help="Columns file, label; where given split, group."),
    click.option("--model", type=click.Choice(["compact", "lenet"]), help="Default: compact; lenet for the course's recipe."),
    size_option,
    channels_option,
    grey_max_option,
    click.option(
        "--recipe",
        type=click.Choice(["standard", "limiar", "reference", "course"]),
        help="Default: standard; limiar with --quick, for lenet and in a sweep.",
    ),
    click.option("--positive", metavar="LABEL", help="The positive of two labels. Default: pos, else the second by name."),
    click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True),
    click.option(
        "--set",
        "changes",
        multiple=True,
        metavar="KEY=VALUE",
        help="Changes a number of the recipe (see docs/training.md).",
    ),
)


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """What a training is told of its images and network, in `limiar train` and `limiar sweep`."""
    for option in reversed(_MODEL_OPTIONS):
        command = option(command)
    return command


def input_of(size: tuple[int, int], channels: str, grey_max: int | None) -> "InputSpec":
    """What --size, --channels and --grey-max ask for."""
    from msgspec import UNSET

    from limiar.edge_app.bundle.manifest import InputSpec

    declared = UNSET if grey_max is None else grey_max
    return InputSpec(height=size[0], width=size[1], channels=3 if channels == "3" else 1, grey_max=declared)


def request_of(
    data: Path,
    out: Path,
    table: Path | None,
    model: str | None,
    size: tuple[int, int],
    channels: str,
    grey_max: int | None,
    recipe: str,
    positive: str | None,
    seed: int,
    changes: tuple[str, ...],
) -> "Request":
    """What these options ask for. Raises TrainError."""
    from limiar.train.config import configured
    from limiar.train.progress import quiet

    with quiet():
        from limiar.train.run import Request
    return Request(
        folder=data,
        out=out,
        table=table,
        model=model or ("lenet" if recipe == "course" else "compact"),
        input=input_of(size, channels, grey_max),
        recipe=recipe,
        positive=positive,
        seed=seed,
        config=configured(recipe, changes),
    )


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The RUN folder to make.")
@model_options
@click.option("--quick", is_flag=True, help="Train for a sixth of the time, by the recipe limiar: for a first look.")
@click.option("--quiet", "silent", is_flag=True, help="Show no progress; notes and warnings stay.")
@click.option("--from", "parent", type=click.Path(path_type=Path), metavar="RUN", help="Continue this RUN with --add.")
@click.option("--add", "reviewed", type=click.Path(path_type=Path), metavar="REVIEWED", help="Reviewed images: folder or CSV.")
@click.option("--tensorboard", type=click.Path(path_type=Path), metavar="DIR", help="Also log to TensorBoard, in DIR/NAME.")
@click.option("--mlflow", metavar="URI|DIR", help="Also log to MLflow: a server, or a folder.")
@click.option("--hosts", "count", type=click.IntRange(2, 4096), help="Processes that train together, one a machine.")
@click.option("--host", "own", type=click.IntRange(0), help="Which of them this is; 0 makes the RUN.")
@click.option("--coordinator", metavar="HOST:PORT", help="Where host 0 listens. Not encrypted: for trusted networks.")
@click.option("--resume", is_flag=True, help="Go on with the run that was interrupted, or refuse; a finished one is done.")
def train(
    data: Path,
    out: Path,
    table: Path | None,
    model: str | None,
    size: tuple[int, int],
    channels: str,
    grey_max: int | None,
    recipe: str | None,
    positive: str | None,
    seed: int,
    changes: tuple[str, ...],
    quick: bool,
    silent: bool,
    parent: Path | None,
    reviewed: Path | None,
    tensorboard: Path | None,
    mlflow: str | None,
    count: int | None,
    own: int | None,
    coordinator: str | None,
    resume: bool,
) -> None:
    """Trains a classifier on the images in DATA.

    Labels come from --csv, else from DATA/manifest.csv where it has the columns file, label and split, else from names that
    end _pos or _neg, else from class folders. An interrupted run goes on when the same command is given again; with
    --resume it is an error where there is nothing to go on from. Folders named train, val and test, above or below the class
    folders, are the given splits.

    It trains the best that limiar knows; how long that takes it says after its second epoch. --quick is for a first look.

    With --from RUN the network of a RUN is trained on with what people reviewed since. DATA is the RUN's own; its validation
    and test images stay what they are. REVIEWED is a folder as above, or a CSV with the columns label, and file or path: also
    what `limiar scan --csv` wrote, once a person corrected its labels.

    \b
    Example:
      limiar train images/ --out run
      limiar train images/ --out first-look --quick
      limiar train images/ --csv labels.csv --model lenet --set epochs=80 --out run-lenet
      limiar train photos/ --size 96x128 --out run-photos
      limiar train images/ --from run --add reviewed.csv --out run-2
      KERAS_BACKEND=jax limiar train images/ --out run --hosts 2 --host 0 --coordinator 10.0.0.1:7000
    """
    from limiar.train.config import RECIPES, SPLITS, check_backend, continued, recipe_of
    from limiar.train.fit.unfinished import said_when_stopped
    from limiar.train.progress import Epochs, Terminal, quiet

    if quick and recipe not in (None, "limiar"):
        raise click.UsageError(f"--quick is the recipe limiar: leave out --recipe {recipe}, or --quick.")
    check_backend()
    if (parent is None) != (reviewed is None):
        raise click.UsageError("--from RUN and --add REVIEWED belong together.")
    hosts = _hosts(count, own, coordinator)
    assists = hosts is not None and hosts.own > 0
    if assists:
        if out.name in ("", ".."):  # "" of "." and "/"
            raise TrainError("E-TRAIN-OUT", f"{printable(str(out))} exists: give another --out")
        out = out.with_name(f"{out.name}.host-{own}")  # --out may be one folder that the hosts share
        tensorboard = mlflow = None  # host 0 logs
    with said_when_stopped(out):
        with quiet():
            from limiar.train.data.reviewed import open_parent
            from limiar.train.run import Progress, assist, summary
            from limiar.train.run import train as make_run
            from limiar.train.tracking.trackers import Trackers, open_trackers

        opened = open_trackers(out, tensorboard, mlflow)  # may wait minutes for a server, and Ctrl-C must end that
        chosen = recipe_of(recipe, quick, model)
        new = () if parent is not None else changes  # a RUN that goes on has its own numbers, which these change below
        request = replace(
            request_of(data, out, table, model, size, channels, grey_max, chosen, positive, seed, new),
            resume=resume,
            hosts=hosts,
        )
        if parent is not None and reviewed is not None:
            _refuse_given("table", "model", "size", "channels", "grey_max", "recipe", "quick", "positive")
            if ignored := [change for change in changes if change.partition("=")[0] in SPLITS]:
                raise click.UsageError(f"--set {ignored[0]}: images stay in the RUN's splits: leave it out with --from.")
            start = open_parent(parent, reviewed)
            request = request.continuing(start, continued(start.run, changes))
        started = time.monotonic()
        with Terminal(silent) as terminal:
            trackers = Trackers(opened, terminal.note)
            shown = Epochs(terminal)

            def begin(state: "State") -> None:
                most, short = state.identity.config.epochs, RECIPES["limiar"].epochs
                shown.begin(state.done, most, short if chosen == "standard" and parent is None and short < most else 0)
                trackers.begin(state)

            def epoch(one: "Epoch") -> None:
                shown.epoch(one.epoch, f"loss {one.loss:.3f}  val {one.val_loss:.3f}")
                trackers.epoch(one)

            progress = Progress(
                note=terminal.note,
                image=lambda done, total: terminal.step(f"images {done}/{total}"),
                epoch=epoch,
                begin=begin,
            )
            run: Run | None = None
            try:
                if assists:
                    assist(request, progress)
                    return
                run = make_run(request, progress)
            finally:
                trackers.end(run)
    click.echo(summary(out, run))
    click.echo(
        f"{run.model}: epoch {run.best_epoch} of {run.epochs}, temperature {run.temperature:.3f}, "
        f"{time.monotonic() - started:.0f} s: {printable(str(out))}"
    )


def _hosts(count: int | None, own: int | None, coordinator: str | None) -> "Hosts | None":
    from limiar.train.config import Hosts

    if count is None and own is None and coordinator is None:
        return None
    if count is None or own is None or coordinator is None:
        raise click.UsageError("--hosts, --host and --coordinator go together.")
    if own >= count:
        raise click.UsageError(f"--host {own}: hosts are numbered from 0 to {count - 1}.")
    if not re.fullmatch(r"\S+:\d{1,5}", coordinator):
        raise click.UsageError(f"--coordinator {coordinator!r} is not HOST:PORT.")
    return Hosts(count, own, coordinator)


def _refuse_given(*names: str) -> None:
    """What comes from the RUN is not to be said again."""
    context = click.get_current_context()
    for parameter in context.command.params:
        if parameter.name in names and context.get_parameter_source(parameter.name) == ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} comes from the RUN: leave it out with --from.")


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1, 1_000_000), required=True, help="Patches; every second one has a nodule.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
def phantoms(out: Path, count: int, seed: int) -> int:
    """Makes CT-like patches with exact labels: 50x50 grey PNG, named ..._pos.png or ..._neg.png, in the new folder OUT.

    \b
    Example:
      limiar phantoms images/ --count 1500 --seed 1
    """
    from limiar.edge_app.system.files import sync_directory
    from limiar.edge_app.system.interrupt import Interrupt
    from limiar.train.data.phantoms import write_phantoms
    from limiar.train.progress import Terminal

    if os.path.lexists(out):  # also a link to nothing
        raise TrainError("E-PHANTOMS-OUT", f"{printable(str(out))} exists: give another folder, or remove it first")
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        met = f"{printable(str(out))}: {error.strerror}"
        raise TrainError("E-PHANTOMS-OUT", f"{met}: give a folder that can be made") from None
    try:
        with Terminal() as terminal, Interrupt() as interrupt:
            for number, _ in enumerate(write_phantoms(partial, count, seed), start=1):
                terminal.step(f"phantoms {number}/{count}")
                if interrupt:
                    return interrupt.status
        sync_directory(partial)
        partial.rename(out)
        sync_directory(out.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    click.echo(f"{counted(count, 'phantom')} of seed {seed}: {printable(str(out))}")
    return 0
