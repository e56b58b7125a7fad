"""`limiar scan`."""

import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app import exit_status
from limiar.edge_app.commands.options import (
    FILE,
    AnswerOptions,
    Reporting,
    TileOptions,
    answering_options,
    plain_uids_option,
    reporting_options,
    tile_options,
)
from limiar.edge_app.errors import OutputError, SourceError
from limiar.edge_app.text import without_passwords

if TYPE_CHECKING:
    from limiar.edge_app.output.count import Count
    from limiar.edge_app.output.passed_over import PassedOver
    from limiar.edge_app.scan.scan import Scan


@click.command()
@click.argument("bundle", type=FILE)
@click.argument("paths", nargs=-1, required=False, type=click.Path(allow_dash=True))
@answering_options("an image")
@tile_options
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@reporting_options("image")
@plain_uids_option
@click.option("--again", is_flag=True, help="Run again even if the database has an answer.")
@click.option("--include", multiple=True, metavar="GLOB", help="In folders, take only files that match.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="In folders, leave out files and folders that match.")
@click.option("--follow", is_flag=True, help="Follow links to files and folders; enter each folder only once.")
@click.option(
    "--passed-over",
    type=FILE,
    metavar="FILE",
    help="List what folders hold besides pictures: JSON lines, or a spreadsheet if FILE ends in .csv.",
)
@click.option("-0", "nul", is_flag=True, help="Read paths from stdin, separated by NUL.")
def scan(
    bundle: Path,
    paths: tuple[str, ...],
    answering: AnswerOptions,
    tiling: TileOptions,
    workers: int,
    reporting: Reporting,
    plain_uids: bool,
    again: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    follow: bool,
    passed_over: Path | None,
    nul: bool,
) -> int:
    """Answer images: files, folders (recursive, in name order), - for paths on stdin, one a line.

    Print a table on a terminal, and JSON lines into a pipe. Every answer is kept in the database before it is printed; an
    image that has an answer is not run again. Exit status 4: finished, but some images were refused.

    Without --file, --runtime and --threads, the choice that `limiar bench --save-best` kept on this device is used, if there is
    one for the bundle.

    In a folder, hidden files, trash and caches of operating systems, and files without the extension of a picture are passed
    over and counted; a file given by name is always tried. A GLOB with a slash is matched against the path below the folder
    (** matches any number of folders), one without a slash against the name.

    \b
    Example:
      limiar scan models/lung-nodule images/ --csv results.csv
      limiar scan models/lung-nodule slices/ --tiles 40,8 --maps maps/
      find /data -name '*.png' -print0 | limiar scan models/lung-nodule -0 --workers 2
    """
    _prepare(paths, nul)
    reporting.check(passed_over=passed_over, maps=tiling.maps)

    from limiar.edge_app.output.passed_over import PassedOver
    from limiar.edge_app.scan.scan import scan as start
    from limiar.edge_app.system.interrupt import Interrupt

    passed = PassedOver(aloud=reporting.verbose)
    with Interrupt() as interrupt, start(
        bundle,
        _listing(paths, nul),
        **answering, **tiling._asdict(),
        workers=workers, plain_uids=plain_uids,
        db=reporting.db,
        annotate=reporting.annotate,
        again=again,
        include=include,
        exclude=exclude,
        follow=follow,
        passed_over=passed.add,
        stop=interrupt.__bool__,
    ) as running:  # fmt: skip
        count = _report(running, passed, passed_over, reporting)
    reporting.summarize(count.text(), passed.text())
    return interrupt.status or _status(count, passed, chosen=bool(include or exclude))


def _prepare(paths: tuple[str, ...], nul: bool) -> None:
    """Checks the arguments, and imports what `_report` needs: while the worker still loads. Raises UsageError."""
    if not paths and not nul:
        raise click.UsageError("Give images, folders, or - to read paths from stdin.")
    if any(without_passwords(path) != path and not os.path.lexists(path) for path in paths):
        raise click.UsageError("An address is not a file or folder: give it to `limiar camera`.")
    if (nul or "-" in paths) and not sys.stdin:
        raise click.UsageError("Cannot read paths: stdin is closed.")
    for name in ("count", "outputs"):
        import_module(f"limiar.edge_app.output.{name}")


def _listing(paths: tuple[str, ...], nul: bool) -> "Iterator[str | bytes | None]":
    """The paths given as arguments, then those on stdin."""
    from limiar.edge_app.scan.paths import listed

    stdin = listed(sys.stdin.buffer, b"\0" if nul else b"\n") if nul or "-" in paths else ()
    return itertools.chain((path for path in paths if path != "-"), stdin)


def _report(running: "Scan", passed: "PassedOver", passed_over: Path | None, reporting: Reporting) -> "Count":
    """Writes the lines as they come. Raises LimiarError."""
    from limiar.edge_app.output.count import Count
    from limiar.edge_app.output.outputs import write_groups

    reporting.say(running.session.describe(running.origin))
    count = Count(reporting.shows_progress)
    passed.open(passed_over)
    try:
        outputs = [*reporting.outputs(running.session.manifest.labels, frames=False), count]
    except OutputError:
        passed.discard()
        raise
    with closing(passed):
        write_groups(running.groups(), outputs)
    return count


def _status(count: "Count", passed: "PassedOver", chosen: bool) -> int:
    """The exit status. chosen: --include or --exclude was given. Raises SourceError: there was no image."""
    from limiar.edge_app.bundle.manifest import REFUSED

    if not count.decisions:
        globs = ", and what --include and --exclude match" if chosen else ""
        raise SourceError(
            "E-SOURCE-EMPTY", f"no image was found in what was given: check the paths and their extensions{globs}"
        )
    return exit_status.SOME_REFUSED if count.decisions[REFUSED] or passed.links else 0
