"""`limiar sweep`. Keras and Optuna are imported when the command runs, not for --help."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app.errors import LimiarError, printable
from limiar.edge_app.text import counted
from limiar.train.commands.train import model_options, request_of

if TYPE_CHECKING:
    from limiar.train.fit.fit import Epoch
    from limiar.train.sweep.sweep import Trial


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The sweep's folder; an interrupted one goes on.")
@click.option("--trials", type=click.IntRange(1, 100_000), default=30, show_default=True, help="In all, earlier ones counted.")
@click.option("--vary", multiple=True, metavar="KEY=LOW..HIGH|A,B,C", help="What to try; default: see docs/training.md.")
@model_options
@click.option("--json", "as_json", is_flag=True, help="All trials and the best as JSON on stdout.")
def sweep(
    data: Path,
    out: Path,
    trials: int,
    vary: tuple[str, ...],
    table: Path | None,
    model: str | None,
    size: tuple[int, int],
    channels: str,
    grey_max: int | None,
    recipe: str | None,
    positive: str | None,
    seed: int,
    changes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Looks for numbers of the recipe that give a lower validation loss, with Optuna; the test images are not looked at.

    Bad trials are ended early. A range that spans a factor of 10 is drawn on a log scale. Ctrl-C loses nothing: the same
    command goes on, also with more --trials. Prints the best trial and the line that trains it.

    \b
    Example:
      limiar sweep images/ --out sweep --trials 30
      limiar sweep images/ --out sweep-2 --vary rate=1e-4..1e-2 --vary batch=32,64 --set epochs=30
    """
    from limiar.train.config import check_backend
    from limiar.train.progress import Terminal, quiet
    from limiar.train.sweep.space import parse

    check_backend()
    recipe = recipe or "limiar"  # thirty trials of the standard recipe would take a night
    request = request_of(data, out, table, model, size, channels, grey_max, recipe, positive, seed, changes)
    varied = parse(vary, request.config)
    try:
        with quiet():
            from limiar.train.run import Progress
            from limiar.train.sweep.sweep import Outcome, best_of
            from limiar.train.sweep.sweep import sweep as searched
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        met = "limiar sweep needs optuna, which is not installed"
        raise LimiarError("E-INSTALL-MISSING", f"{met}: pip install 'limiar[sweep]'") from None
    over: list[Trial] = []
    with Terminal() as terminal:

        def epoch(one: "Epoch") -> None:
            terminal.step(f"trial {len(over) + 1} here  epoch {one.epoch}  val {one.val_loss:.3f}")

        def done(trial: "Trial") -> None:
            over.append(trial)
            terminal.note(_line(trial))

        progress = Progress(note=terminal.note, image=lambda read, total: terminal.step(f"images {read}/{total}"), epoch=epoch)
        try:
            found = searched(request, varied, trials, progress, done)
        except KeyboardInterrupt:
            if out.exists():
                terminal.note(f"stopped; {printable(str(out))} keeps what was tried: the same command goes on from there")
            raise
    best = best_of(found)
    settings = (*changes, *best.settings) if best else ()
    command = _command(data, table, model, size, channels, grey_max, recipe, positive, seed, settings) if best else ()
    if as_json:
        import msgspec

        outcome = Outcome(trials=found, best=best, command=command)
        click.echo(msgspec.json.format(msgspec.json.encode(outcome), indent=1))
        return
    tried = counted(len(found), "trial")
    click.echo(f"{tried}, {sum(one.state == 'pruned' for one in found)} ended early: {printable(str(out))}")
    click.echo(
        f"best: {_line(best)}\n{shlex.join(command)}" if best else "no trial ended with a network: vary less, or other numbers"
    )


def _line(trial: "Trial") -> str:
    loss = f"val loss {trial.val_loss:.4f}" if trial.val_loss is not None else "no loss"
    state = "" if trial.state == "complete" else f" ({trial.state})"
    return f"trial {trial.number}{state}: {loss} after {trial.epochs} epochs, {' '.join(trial.settings)}"


def _command(
    data: Path,
    table: Path | None,
    model: str | None,
    size: tuple[int, int],
    channels: str,
    grey_max: int | None,
    recipe: str,
    positive: str | None,
    seed: int,
    changes: tuple[str, ...],
) -> tuple[str, ...]:
    """The `limiar train` of these."""
    words = ["limiar", "train", str(data), "--out", "RUN"]
    given = {"--csv": table, "--model": model, "--positive": positive, "--grey-max": grey_max}
    words += [word for name, value in given.items() if value is not None for word in (name, str(value))]
    words += ["--size", f"{size[0]}x{size[1]}", "--channels", channels, "--recipe", recipe, "--seed", str(seed)]
    return (*words, *(word for change in changes for word in ("--set", change)))
