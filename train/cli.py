"""`limiar train` and `limiar phantoms`. Keras and numpy are imported when a command runs, not for --help."""

import os
import shutil
import time
from pathlib import Path

import click

from edge_app.errors import TrainError, printable


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The RUN folder to make.")
@click.option("--csv", "table", type=click.Path(path_type=Path), help="Columns file, label; where given split, group.")
@click.option("--model", type=click.Choice(["compact", "lenet"]), help="Default: compact; lenet for the course's recipe.")
@click.option("--recipe", type=click.Choice(["limiar", "course"]), default="limiar", show_default=True)
@click.option("--positive", metavar="LABEL", help="Of two labels, the one that sensitivity counts. Default: pos.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Changes a number of the recipe (see docs/training.md).",
)
def train(
    data: Path,
    out: Path,
    table: Path | None,
    model: str | None,
    recipe: str,
    positive: str | None,
    seed: int,
    changes: tuple[str, ...],
) -> None:
    """Trains a classifier on the images in DATA.

    Labels come from --csv, else from DATA/manifest.csv where it has the columns file, label and split, else from names that
    end _pos or _neg, else from class folders. An interrupted run goes on when the same command is given again.

    \b
    Example:
      limiar train images/ --out run
      limiar train images/ --csv labels.csv --model lenet --set epochs=80 --out run-lenet
    """
    from train.config import configured
    from train.progress import Terminal, quiet

    config = configured(recipe, changes)
    with quiet():
        from train.run import Progress, Request, partial_folder, summary
        from train.run import train as make_run
    request = Request(
        folder=data,
        out=out,
        table=table,
        model=model or ("lenet" if recipe == "course" else "compact"),
        recipe=recipe,
        positive=positive,
        seed=seed,
        config=config,
    )
    started = time.monotonic()
    with Terminal() as terminal:
        progress = Progress(
            note=terminal.note,
            image=lambda done, total: terminal.step(f"images {done}/{total}"),
            epoch=lambda e: terminal.step(f"epoch {e.epoch}/{config.epochs}  loss {e.loss:.3f}  val {e.val_loss:.3f}"),
        )
        try:
            run = make_run(request, progress)
        except KeyboardInterrupt:
            if partial_folder(out).exists():
                where = printable(str(partial_folder(out)))
                terminal.note(f"stopped; {where} keeps what was done: the same command goes on from there")
            raise
    click.echo(summary(out, run))
    click.echo(
        f"{run.model}: epoch {run.best_epoch} of {run.epochs}, temperature {run.temperature:.3f}, "
        f"{time.monotonic() - started:.0f} s: {printable(str(out))}"
    )


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1, 1_000_000), required=True, help="Patches; every second one has a nodule.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
def phantoms(out: Path, count: int, seed: int) -> None:
    """Makes CT-like patches with exact labels: 50x50 grey PNG, named ..._pos.png or ..._neg.png, in the new folder OUT.

    \b
    Example:
      limiar phantoms images/ --count 1500 --seed 1
    """
    from edge_app.files import sync_directory
    from train.phantoms import write_phantoms
    from train.progress import Terminal

    if out.exists():
        raise TrainError("E-PHANTOMS-OUT", f"{printable(str(out))} exists: give another folder, or remove it first")
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        with Terminal() as terminal:
            for number, _ in enumerate(write_phantoms(partial, count, seed), start=1):
                terminal.step(f"phantoms {number}/{count}")
        sync_directory(partial)
        partial.rename(out)
        sync_directory(out.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    click.echo(f"{count} phantoms of seed {seed}: {printable(str(out))}")
