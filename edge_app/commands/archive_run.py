"""`limiar archive run`."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if first > last:
            raise click.BadParameter(f"{text!r} is a range from a larger number to a smaller one.")
        found.append(range(first, last + 1))
    return found


@click.command()
@click.argument("out", type=FILE)
@click.option(
    "--chunk",
    "chunks",
    multiple=True,
    callback=_chunks,
    metavar="K",
    help="Chunks: a number, or a range such as 10-19; a range may go past the last chunk.",
)
@click.option("--bundle", type=FILE, help="A copy of the plan's bundle.  [default: where it was]")
@click.option("--scratch", type=FILE, metavar="DIR", help="For what is needed meanwhile.  [default: TMPDIR, or /tmp]")
@click.option("--workers", type=click.IntRange(1, 1024), metavar="N", help="Processes on this machine, with Dask.")
@click.option("--scheduler", metavar="ADDRESS", help="A running Dask cluster: tls://HOST:8786.")
@click.option("--tls-ca", type=FILE, metavar="PEM", help="The authority of the cluster's certificates.")
@click.option("--tls-cert", type=FILE, metavar="PEM", help="This side's certificate.")
@click.option("--tls-key", type=FILE, metavar="PEM", help="Its private key.")
@with_extra("archive")
def run(out: Path, chunks: list[range], bundle: Path | None, scratch: Path | None, **engine: object) -> int:
    """Answer the archive OUT. A chunk that is done is left as it is, so the same command can be run again.

    Without --workers or --scheduler, one chunk after the other. With them, Dask gives chunks to processes: one that is lost
    costs its chunk some time, and files are looked at in the end, not what Dask says.

    Any process on any machine that sees OUT may run any chunk: from a shell loop, a Slurm array, a queue. Exit status 1 if a
    chunk failed: its error was printed, and `limiar archive status` has it. An image that is refused is a row with its code.

    \b
    Example:
      limiar archive run work --workers 8
      limiar archive run work --chunk 0-9
      sbatch --array=0-999 --wrap 'limiar archive run work --chunk $SLURM_ARRAY_TASK_ID'
    """
    from limiar.edge_app.archive.plan import open_archive
    from limiar.edge_app.system.interrupt import Interrupt

    archive = open_archive(out)
    if any(engine.values()):
        return _run_by_dask(archive, chunks, bundle, scratch, **engine)
    numbers = list(_numbers(archive, chunks) if chunks else (chunk.number for chunk in archive.missing()))
    if not numbers:
        click.echo("nothing to do: every chunk is done", err=True)
    with Interrupt() as interrupt:
        failed = _run_each(archive, numbers, bundle, scratch, interrupt.__bool__)
    return interrupt.status or (exit_status.ERROR if failed else 0)


def _numbers(archive: "Archive", chunks: Iterable[range]) -> Iterator[int]:
    """The numbers in ranges, each of which may go past the last chunk, but not begin there: run_chunk says so."""
    for some in chunks:
        yield from range(some.start, max(some.start + 1, min(some.stop, archive.plan.chunks)))


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


def _run_by_dask(
    archive: "Archive",
    chunks: list[range],
    bundle: Path | None,
    scratch: Path | None,
    workers: Any,
    scheduler: Any,
    **files: Any,
) -> int:
    if chunks or (workers and scheduler):
        raise click.UsageError("Give --chunk, --workers or --scheduler: one of them.")
    if any(files.values()) and not scheduler:
        raise click.UsageError("--tls-ca, --tls-cert and --tls-key are for a cluster: give its --scheduler too.")
    if 0 < sum(path is not None for path in files.values()) < len(files):
        raise click.UsageError("--tls-ca, --tls-cert and --tls-key belong together: give all three.")
    return _by_dask(
        archive=archive, bundle=bundle, scratch=scratch, workers=workers, scheduler=scheduler, files=tuple(files.values())
    )


@with_extra("dask")
def _by_dask(
    archive: "Archive", bundle: Path | None, scratch: Path | None, workers: Any, scheduler: Any, files: tuple[Any, ...]
) -> int:
    from limiar.edge_app.archive.dask_driver import Tls
    from limiar.edge_app.archive.run import run_archive
    from limiar.edge_app.system.interrupt import Interrupt
    from limiar.edge_app.system.progress import ProgressLine

    with Interrupt() as interrupt, ProgressLine() as line:
        done = run_archive(
            archive, workers=workers, scheduler=scheduler, tls=Tls(*files) if files[0] else None,
            bundle=bundle, scratch=scratch, stop=interrupt.__bool__, progress=lambda how: line.draw(how.text()),
        )  # fmt: skip
    for number, error in done.failed.items():
        click.echo(f"chunk {number}: {error}", err=True)
    click.echo(f"{counted(done.fresh, 'chunk')} done in {done.seconds:.1f} s, {done.done} of {done.chunks} in all", err=True)
    return interrupt.status or (exit_status.ERROR if done.failed else 0)
