"""`limiar watch`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app import exit_status
from limiar.edge_app.commands.options import (
    FILE,
    AnswerOptions,
    Finite,
    Reporting,
    TileOptions,
    answering_options,
    reporting_options,
    tile_options,
)

if TYPE_CHECKING:
    from limiar.edge_app.output.count import ArrivalCount
    from limiar.edge_app.scan.scan import Scan


@click.command()
@click.argument("bundle", type=FILE)
@click.argument("folders", nargs=-1, required=True, type=FILE)
@answering_options("an image")
@tile_options
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option("--seconds", type=Finite(min=0, min_open=True), metavar="S", help="Stop after so many seconds.")
@reporting_options("image")
@click.option("--again", is_flag=True, help="Run again even if the database has an answer.")
@click.option("--include", multiple=True, metavar="GLOB", help="Take only files that match.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out files and folders that match.")
def watch(
    bundle: Path,
    folders: tuple[Path, ...],
    answering: AnswerOptions,
    tiling: TileOptions,
    workers: int,
    seconds: float | None,
    reporting: Reporting,
    again: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
) -> int:
    """Answer images as they arrive in folders, until Ctrl-C.

    What is there already is answered first. A file is answered once it has stayed the same for 2 seconds, or at once if it was
    renamed into place, and again after it changed. Files stay where they are. A folder that goes away (a card, a share) is
    watched again once it is back. Lines, options and exit status are those of `limiar scan`; links are not followed.

    Hidden and unfinished files (NAME.part), what systems leave behind, and files without the extension of a picture are
    passed over and counted.

    \b
    Example:
      limiar watch models/lung-nodule inbox/ --jsonl answers.jsonl
      limiar watch models/lung-nodule /media/card /mnt/share --exclude 'thumbs/'
    """
    from limiar.edge_app.output.count import ArrivalCount
    from limiar.edge_app.service.watch import watch as start
    from limiar.edge_app.system.interrupt import Interrupt

    reporting.check(maps=tiling.maps)
    count = ArrivalCount(reporting.shows_progress)
    with Interrupt() as interrupt, start(
        bundle,
        folders,
        **answering, **tiling._asdict(),
        workers=workers,
        db=reporting.db,
        annotate=reporting.annotate,
        again=again,
        include=include,
        exclude=exclude,
        seconds=seconds,
        tell=lambda note: _tell(note, count),
        looked=count.looked,
        stop=interrupt.__bool__,
    ) as running:  # fmt: skip
        _report(running, count, reporting)
    return interrupt.status or _status(count)


def _tell(note: str, count: "ArrivalCount") -> None:
    """Says what happened to a folder, even with --quiet: images may be missing."""
    count.clear()
    click.echo(note, err=True)


def _report(running: "Scan", count: "ArrivalCount", reporting: Reporting) -> None:
    """Writes the lines as they come, and the sums at the end. Raises LimiarError."""
    from limiar.edge_app.output.outputs import write_groups

    reporting.say(running.session.describe(running.origin))
    outputs = [*reporting.outputs(running.session.manifest.labels, frames=False), count]
    write_groups(running.groups(), outputs)
    reporting.summarize(count.text(), count.passed())


def _status(count: "ArrivalCount") -> int:
    from limiar.edge_app.bundle.manifest import REFUSED

    return exit_status.SOME_REFUSED if count.decisions[REFUSED] else 0
