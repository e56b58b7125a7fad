"""`limiar series`."""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import click

from limiar.edge_app import exit_status
from limiar.edge_app.commands.options import FILE, AnswerOptions, answering_options, plain_uids_option, tiles_option
from limiar.edge_app.errors import LimiarError, SourceError, printable

if TYPE_CHECKING:
    from limiar.edge_app.inference.tiling import Tiling
    from limiar.edge_app.output.count import Count
    from limiar.edge_app.output.jsonl import JsonFile, JsonStream
    from limiar.edge_app.output.passed_over import PassedOver
    from limiar.edge_app.series.series import Outcome, Series
    from limiar.edge_app.series.table import StudyTable

    StudyOutput = JsonStream | JsonFile | StudyTable


@click.command()
@click.argument("bundle", type=FILE)
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@answering_options("a slice")
@tiles_option
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option("--html", type=FILE, metavar="FILE", help="Write a page: the findings, and the slices under their maps.")
@click.option("--jsonl", metavar="FILE|-", help="Write JSON lines to a file, or to stdout with -.")
@click.option("--db", type=FILE, metavar="FILE", help="Results database. Default: results.db in limiar's state folder.")
@plain_uids_option
@click.option("--again", is_flag=True, help="Run again even if the database has an answer.")
@click.option("--follow", is_flag=True, help="Follow links to files and folders; enter each folder only once.")
@click.option("--quiet", "-q", is_flag=True, help="Show only errors and JSON lines.")
def series(
    bundle: Path,
    paths: tuple[str, ...],
    answering: AnswerOptions,
    tiles: "Tiling",
    workers: int,
    html: Path | None,
    jsonl: str | None,
    db: Path | None,
    plain_uids: bool,
    again: bool,
    follow: bool,
    quiet: bool,
) -> int:
    """Answer series of DICOM slices: what is found in neighbouring slices is one finding, and each series is one study.

    Slices are put in order by their places in the patient, whatever the names and numbers of their files. Print the studies
    with their findings on a terminal, and JSON lines into a pipe. Every slice's answer is kept in the database, so a command
    that was interrupted goes on where it was. Exit status 4: finished, but some files or studies were refused.

    \b
    Example:
      limiar series bundles/nodules ct/ --html study.html
    """
    outputs = Outputs.checked(html, jsonl, quiet, db)

    from limiar.edge_app.output.count import Count
    from limiar.edge_app.output.passed_over import PassedOver
    from limiar.edge_app.series.series import series as start
    from limiar.edge_app.system.interrupt import Interrupt

    count, passed = Count(not quiet), PassedOver()
    with Interrupt() as interrupt, start(
        bundle,
        paths,
        **answering,
        tiles=tiles or "bundle",
        scores=html is not None,
        workers=workers, plain_uids=plain_uids,
        db=db,
        again=again,
        follow=follow,
        passed_over=passed.add,
        read=count.write,
        stop=interrupt.__bool__,
    ) as running:  # fmt: skip
        outcomes = list(running.with_slices())
    outputs.write(running, outcomes, follow, notes=(count.text(), passed.text()))
    return interrupt.status or _status(count, passed, any(outcome.refused for outcome, _ in outcomes))


class Outputs(NamedTuple):
    """Where the studies go."""

    html: Path | None
    jsonl: str | None
    quiet: bool

    @classmethod
    def checked(cls, html: Path | None, jsonl: str | None, quiet: bool, db: Path | None) -> Self:
        """Before any work. Raises UsageError: two of them are one file, or the page is to go to stdout; and LimiarError."""
        if html == Path("-"):
            raise click.UsageError("--html is written as a whole, at the end: give a file.")
        of: dict[str, str] = {}
        for option, path in {"--db": db, "--html": html, "--jsonl": None if jsonl in (None, "-") else Path(jsonl)}.items():
            if path and (other := of.setdefault(os.path.realpath(path), option)) != option:
                raise click.UsageError(f"{other} and {option} are the same file: {printable(str(path))}.")
        if html and find_spec("jinja2") is None:
            met = "--html needs jinja2, which is not installed"
            raise LimiarError("E-INSTALL-MISSING", f"{met}: pip install 'limiar[html]'")
        return cls(html, jsonl, quiet)

    def write(self, running: "Series", outcomes: "list[Outcome]", follow: bool, notes: Sequence[str]) -> None:
        """Writes them all, the page first, and what there is to say on stderr. Raises LimiarError."""
        if self.html and outcomes:
            _write_page(self.html, running, outcomes, follow)
        for output in self._opened():
            output.write([outcome for outcome, _ in outcomes])
            output.close()
        if not self.quiet:
            click.echo("\n".join(filter(None, notes)), err=True)

    def _opened(self) -> "list[StudyOutput]":
        """JSON lines into a file or a pipe, a table on a terminal. Raises OutputError."""
        from limiar.edge_app.output.jsonl import JsonFile, JsonStream
        from limiar.edge_app.series.table import StudyTable

        outputs: list[StudyOutput] = []
        if self.jsonl == "-" or (self.jsonl is None and not sys.stdout.isatty()):
            outputs.append(JsonStream())
        elif sys.stdout.isatty() and not self.quiet:
            outputs.append(StudyTable())
        return outputs if self.jsonl in (None, "-") else [*outputs, JsonFile(Path(self.jsonl))]


def _write_page(html: Path, running: "Series", outcomes: "list[Outcome]", follow: bool) -> None:
    """Raises LimiarError."""
    from limiar.edge_app.output.files import OutputFile
    from limiar.edge_app.series.page import page

    file = OutputFile(html)
    file.write(page(running.session.manifest, running.origin, outcomes, follow))
    file.close()


def _status(count: "Count", passed: "PassedOver", some_refused: bool) -> int:
    """The exit status. Raises SourceError: there was no image."""
    if not count.decisions:
        raise SourceError("E-SOURCE-EMPTY", "no image was found in what was given: check the paths and their extensions")
    return exit_status.SOME_REFUSED if some_refused or passed.links else 0
