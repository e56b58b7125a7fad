"""`limiar train`. Keras and numpy are imported when the command runs, not for --help."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from limiar.edge_app.errors import printable
from limiar.train.commands.options import model_options

if TYPE_CHECKING:
    from limiar.train.config import Hosts
    from limiar.train.record.run_folder import Run


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The RUN folder to make.")
@model_options
@click.option("--quick", is_flag=True, help="Train for a sixth of the time, with the recipe limiar: for a first look.")
@click.option("--quiet", "silent", is_flag=True, help="Show no progress; notes and warnings stay.")
@click.option(
    "--from",
    "parent",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Train the network of this RUN further, with --add.",
)
@click.option(
    "--add", "reviewed", type=click.Path(path_type=Path), metavar="REVIEWED", help="Folder or CSV of reviewed images."
)
@click.option("--tensorboard", type=click.Path(path_type=Path), metavar="DIR", help="Also log to TensorBoard, in DIR/NAME.")
@click.option("--mlflow", metavar="URI|DIR", help="Also log to MLflow: a server, or a folder.")
@click.option(
    "--hosts", "count", type=click.IntRange(2, 4096), help="Number of processes that train together, one per machine."
)
@click.option("--host", "own", type=click.IntRange(0), help="Number of this process, from 0; host 0 writes the RUN.")
@click.option("--coordinator", metavar="HOST:PORT", help="Where host 0 listens. Not encrypted: for trusted networks.")
@click.option("--resume", is_flag=True, help="Continue the interrupted run, or fail if there is none. A finished one is kept.")
def train(
    data: Path, out: Path, silent: bool, count: int | None, own: int | None, coordinator: str | None, **options: Any
) -> None:
    """Train a classifier on the images in DATA.

    Labels come from --csv. Without it they come from DATA/manifest.csv if that has the columns file, label and split, or from
    names that end in _pos or _neg, or from class folders. Folders named train, val and test, above or below the class folders,
    are taken as the splits. Repeat the command to continue an interrupted run; with --resume, it fails if there is nothing to
    continue.

    The default is the best recipe that limiar knows; after the second epoch, limiar says how long it will take. --quick is
    for a first look.

    With --from RUN, the network of that RUN is trained further with images that people have reviewed. DATA is the RUN's own
    folder of images; its validation and test images stay as they are. REVIEWED is a folder as above, or a CSV with the
    columns label, and file or path, such as the output of `limiar scan --csv` after a person corrected its labels.

    \b
    Example:
      limiar train images/ --out run
      limiar train images/ --out first-look --quick
      limiar train images/ --csv labels.csv --model lenet --set epochs=80 --out run-lenet
      limiar train photos/ --size 96x128 --out run-photos
      limiar train images/ --from run --add reviewed.csv --out run-2
      KERAS_BACKEND=jax limiar train images/ --out run --hosts 2 --host 0 --coordinator 10.0.0.1:7000
    """
    from limiar.train.commands.terminal import Terminal, listening, said_when_stopped
    from limiar.train.run.train_model import assist_training, own_folder, train_model

    _check_together(**options)
    hosts = _hosts(count, own, coordinator)
    started = time.monotonic()
    with said_when_stopped(own_folder(out, hosts)), Terminal(silent) as terminal:
        if hosts is not None and hosts.own > 0:
            assist_training(data, out, hosts=hosts, listener=listening(terminal), **options)
            return
        run = train_model(data, out, hosts=hosts, listener=listening(terminal), **options)
    _print(run, out, time.monotonic() - started)


def _print(run: "Run", out: Path, seconds: float) -> None:
    from limiar.train.report.summary import summary

    click.echo(summary(out, run))
    click.echo(
        f"{run.model}: epoch {run.best_epoch} of {run.epochs}, temperature {run.temperature:.3f}, "
        f"{seconds:.0f} s: {printable(str(out))}"
    )


def _check_together(
    recipe: str | None, quick: bool, parent: Path | None, reviewed: Path | None, changes: Sequence[str], **_: Any
) -> None:
    """Options that exclude or need each other."""
    from limiar.train.config import SPLITS

    if quick and recipe not in (None, "limiar"):
        raise click.UsageError(f"--quick is the recipe limiar: leave out --recipe {recipe}, or --quick.")
    if (parent is None) != (reviewed is None):
        raise click.UsageError("--from RUN and --add REVIEWED go together.")
    if parent is not None:
        _refuse_given("table", "model", "size", "channels", "grey_max", "dicom_window", "recipe", "quick", "positive")
        if ignored := [change for change in changes if change.partition("=")[0] in SPLITS]:
            raise click.UsageError(f"--set {ignored[0]}: images stay in the RUN's splits: leave it out with --from.")


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
    """Refuses options that the RUN decides."""
    context = click.get_current_context()
    for parameter in context.command.params:
        if parameter.name in names and context.get_parameter_source(parameter.name) == ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} comes from the RUN: leave it out with --from.")
