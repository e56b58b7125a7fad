"""`limiar sweep`. Keras and Optuna are imported when the command runs, not for --help."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted
from limiar.train.commands.options import model_options

if TYPE_CHECKING:
    from limiar.train.record.run_folder import Epoch
    from limiar.train.sweep.result import SweepResult, SweepTrial


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The sweep's folder; continues a sweep in it.")
@click.option(
    "--trials", type=click.IntRange(1, 100_000), default=30, show_default=True, help="Number of trials, earlier ones included."
)
@click.option("--vary", multiple=True, metavar="KEY=LOW..HIGH|A,B,C", help="What to try. Default: see docs/training.md.")
@model_options
@click.option("--json", "as_json", is_flag=True, help="Print all trials and the best as JSON on stdout.")
def sweep(data: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Search for numbers of the recipe that give a lower validation loss, with Optuna; the test images are never used.

    Bad trials end early. A range that spans a factor of 10 is drawn on a log scale. Ctrl-C loses nothing: repeat the
    command, with more --trials if you like, to continue. Prints the best trial and the command that trains it.

    \b
    Example:
      limiar sweep images/ --out sweep --trials 30
      limiar sweep images/ --out sweep-2 --vary rate=1e-4..1e-2 --vary batch=32,64 --set epochs=30
    """
    from limiar.train.commands.terminal import Terminal
    from limiar.train.run.request import Listener
    from limiar.train.sweep.sweep import sweep as search

    with Terminal() as terminal:
        over: list[SweepTrial] = []

        def epoch(one: "Epoch") -> None:
            terminal.step(f"trial {len(over) + 1} here  epoch {one.epoch}  val {one.val_loss:.3f}")

        def done(trial: "SweepTrial") -> None:
            over.append(trial)
            terminal.note(_line(trial))

        listener = Listener(note=terminal.note, image=lambda read, total: terminal.step(f"images {read}/{total}"), epoch=epoch)
        try:
            found = search(data, out, **options, listener=listener, done=done)
        except KeyboardInterrupt:
            if out.exists():
                terminal.note(f"stopped; {printable(str(out))} keeps what was tried: repeat the command to continue")
            raise
    _print(found, out, as_json)


def _print(found: "SweepResult", out: Path, as_json: bool) -> None:
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1))
        return
    pruned = sum(one.state == "pruned" for one in found.trials)
    click.echo(f"{counted(len(found.trials), 'trial')}, {pruned} ended early: {printable(str(out))}")
    if found.best:
        click.echo(f"best: {_line(found.best)}\n{shlex.join(found.command)}")
    else:
        click.echo("no trial ended with a network: vary fewer or other numbers")


def _line(trial: "SweepTrial") -> str:
    loss = f"val loss {trial.val_loss:.4f}" if trial.val_loss is not None else "no loss"
    state = "" if trial.state == "complete" else f" ({trial.state})"
    return f"trial {trial.number}{state}: {loss} after {counted(trial.epochs, 'epoch')}, {' '.join(trial.settings)}"
