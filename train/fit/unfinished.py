"""Where a run that is not finished lies, and what is left of it. Imports no Keras: a Ctrl-C may come before that is loaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from limiar.edge_app.errors import printable

STATE = "state.json"  # names the epoch whose files are whole; written last


def partial_folder(out: Path) -> Path:
    """Where an unfinished run keeps its checkpoints, beside the RUN it will become."""
    return out.with_name(f"{out.name}.partial")


@contextmanager
def said_when_stopped(out: Path) -> Iterator[None]:
    """A Ctrl-C says what is kept, and what to do."""
    try:
        yield
    except KeyboardInterrupt:
        partial = partial_folder(out)
        if (partial / STATE).exists():
            said = f"stopped; {printable(str(partial))} keeps what was done: the same command goes on from there"
        else:
            said = "stopped before the first epoch was done: nothing is kept, the same command starts anew"
        click.echo(f"\n{said}", err=True)
        raise
