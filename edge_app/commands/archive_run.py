"""`limiar archive run`."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app import exit_status
from limiar.edge_app.commands.options import FILE, with_extra
from limiar.edge_app.text import counted

if TYPE_CHECKING:
    from limiar.edge_app.archive.plan import Archive


def _chunks(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> list[range]:
    """`7` and `10-19` -> ranges."""
    found = []
    for text in given:
        if not (numbers := re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", text)):
            raise click.BadParameter(f"{text!r} is neither a number, such as 7, nor a range, such as 10-19.")
        found.append(range(int(numbers[1]), int(numbers[2] or numbers[1]) + 1))
    return found


@click.command()
@click.argument("out", type=FILE)
@click.option(
    "--chunk", "chunks", multiple=True, callback=_chunks, metavar="K", help="Chunks: a number, or a range such as 10-19."
)
@click.option("--bundle", type=FILE, help="A copy of the plan's bundle.  [default: where it was]")
@click.option("--scratch", type=FILE, metavar="DIR", help="For what is needed meanwhile.  [default: TMPDIR, or /tmp]")
@with_extra("archive")
def run(out: Path, chunks: list[range], bundle: Path | None, scratch: Path | None) -> int:
    """Answer chunks of the archive OUT. A chunk that is done is left as it is, so the same command can be run again.

    Any process on any machine that sees OUT may run any chunk: from a shell loop, a Slurm array, a queue. Exit status 1 if a
    chunk failed: its error was printed, and `limiar archive status` has it. An image that is refused is a row with its code.

    \b
    Example:
      limiar archive run work --chunk 0-9
      sbatch --array=0-999 --wrap 'limiar archive run work --chunk $SLURM_ARRAY_TASK_ID'
    """
    from limiar.edge_app.archive.plan import open_archive
    from limiar.edge_app.system.interrupt import Interrupt

    archive = open_archive(out)
    numbers = [number for some in chunks for number in some] or [chunk.number for chunk in archive.missing()]
    with Interrupt() as interrupt:
        failed = _run_each(archive, numbers, bundle, scratch, interrupt.__bool__)
    return interrupt.status or (exit_status.ERROR if failed else 0)


def _run_each(
    archive: "Archive", numbers: Iterable[int], bundle: Path | None, scratch: Path | None, stop: Callable[[], bool]
) -> int:
    """Runs chunks one after the other; returns how many failed."""
    from limiar.edge_app.archive.chunk import Stopped, run_chunk
    from limiar.edge_app.archive.columns import without_pandas
    from limiar.edge_app.errors import LimiarError

    without_pandas()
    failed = 0
    for number in numbers:
        try:
            done = run_chunk(archive, number, scratch, bundle=bundle, stop=stop)
        except Stopped:
            break
        except LimiarError as error:
            click.echo(f"chunk {number}: {error}", err=True)
            failed += 1
            continue
        refused = sum(done.refused.values())
        what = f"{counted(done.rows, 'row')}, {refused} refused; {done.seconds:.1f} s" if done.fresh else "done before"
        click.echo(f"chunk {number}: {what}", err=True)
    return failed
