"""`limiar scan`."""

import itertools
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app import APP, exit_status
from limiar.edge_app.commands.options import Finite, check_distinct, file_of, key_options, keys_of, outputs_of
from limiar.edge_app.errors import OutputError, SourceError, printable
from limiar.edge_app.text import without_passwords

if TYPE_CHECKING:
    from limiar.edge_app.inference.rule import OutsideRule


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("paths", nargs=-1, required=False, type=click.Path(allow_dash=True))
@click.option("--file", "name", metavar="NAME", help="Model file of the bundle, as `tflite_int8`; else its default file.")
@click.option("--runtime", metavar="R", help="litert, tflite-runtime or onnxruntime; else the first that is installed.")
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Inference threads of a worker.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option("--refer-below", type=Finite(0, 1), metavar="P", help="Refer below this confidence; else the bundle's.")
@click.option(
    "--outside",
    type=click.Choice(["refer", "refuse", "ignore"]),
    default="refer",
    show_default=True,
    help="What becomes of an image unlike the training images.",
)
@click.option("--jsonl", metavar="FILE|-", help="JSON lines into a file, or - for stdout.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), metavar="FILE", help="A spreadsheet.")
@click.option(
    "--db",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Results database; else results.db in limiar's state folder.",
)
@click.option("--annotate", type=click.Path(path_type=Path), metavar="DIR", help="Write each image enlarged, with its answer.")
@click.option("--again", is_flag=True, help="Infer also what the database has an answer for.")
@click.option(
    "--include", multiple=True, metavar="GLOB", help="Of folders take only files that match, whatever they are called."
)
@click.option("--exclude", multiple=True, metavar="GLOB", help="Of folders leave out files and folders that match.")
@click.option("--follow", is_flag=True, help="Follow links to files and folders; each folder is entered once.")
@click.option(
    "--passed-over",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Name what folders hold beside pictures: JSON lines, or a spreadsheet if FILE ends in .csv.",
)
@click.option(
    "--quiet", "-q", is_flag=True, help="No table, progress or summary: only errors, and the lines that are asked for."
)
@click.option("--verbose", "-v", is_flag=True, help="Say also what answers, and what is passed over as it is met.")
@click.option("-0", "nul", is_flag=True, help="Read paths from stdin, separated by NUL.")
@key_options
def scan(
    bundle: Path,
    paths: tuple[str, ...],
    name: str | None,
    runtime: str | None,
    threads: int,
    workers: int,
    refer_below: float | None,
    outside: "OutsideRule",
    jsonl: str | None,
    csv_file: Path | None,
    db: Path | None,
    annotate: Path | None,
    again: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    follow: bool,
    passed_over: Path | None,
    quiet: bool,
    verbose: bool,
    nul: bool,
    key_files: tuple[Path, ...],
    revoked_files: tuple[Path, ...],
) -> int:
    """Answer images: files, folders (recursive, in name order), - for paths on stdin, one a line.

    On a terminal a table, into a pipe JSON lines. Every answer is kept in the database before it is printed; an image that
    has an answer is not inferred twice. Exit status 4: finished, but some images were refused.

    In a folder hidden names, the bins and caches of systems, and what is no picture by its name are passed over and counted;
    a file given by name is always tried. A GLOB with a slash is matched against the path below the folder (** are any folders),
    one without against the name.

    \b
    Example:
      limiar scan models/lung-nodule images/ --csv results.csv
      find /data -name '*.png' -print0 | limiar scan models/lung-nodule -0 --workers 2
    """
    from limiar.edge_app.bundle.manifest import REFUSED
    from limiar.edge_app.bundle.open import open_bundle
    from limiar.edge_app.inference.job import job_of
    from limiar.edge_app.scan.fork import fork_worker

    if not paths and not nul:
        raise click.UsageError("Give images, folders, or - to read paths from stdin.")
    for option, given in (("--csv", csv_file), ("--passed-over", passed_over)):
        if given == Path("-"):
            raise click.UsageError(f"{option} is written whole, at the end: give a file. For stdout there is --jsonl -.")
    if quiet and verbose:
        raise click.UsageError("--quiet or --verbose, not both.")
    if any(without_passwords(path) != path and not os.path.lexists(path) for path in paths):
        raise click.UsageError("An address is not a file or folder: `limiar camera` answers its frames.")
    if (nul or "-" in paths) and not sys.stdin:
        raise click.UsageError("Paths are to come from stdin, which is closed.")
    processes = [fork_worker() for _ in range(workers)]  # see scan/fork.py: after what both sides import, before all else

    from limiar.edge_app.image.folder import Choice
    from limiar.edge_app.inference.rule import Rule
    from limiar.edge_app.inference.verified import ensure_verified
    from limiar.edge_app.output.files import writable
    from limiar.edge_app.output.images import PassedOver, Summary
    from limiar.edge_app.output.lines import Origin
    from limiar.edge_app.scan.paths import Files, listed
    from limiar.edge_app.scan.pool import Workers
    from limiar.edge_app.scan.scan import Scan
    from limiar.edge_app.store.state import default_path
    from limiar.edge_app.store.writer import BundleKey, Store
    from limiar.edge_app.system.clock import utc_now
    from limiar.edge_app.system.interrupt import Interrupt

    database = db or default_path()
    check_distinct({"--db": database, "--jsonl": file_of(jsonl), "--csv": csv_file, "--passed-over": passed_over})
    opened = open_bundle(bundle, keys_of(key_files, revoked_files))
    manifest = opened.manifest
    file, model = opened.model(name)
    rule = Rule(file.decision.referring(refer_below), outside)
    if annotate:
        with writable(annotate):
            annotate.mkdir(parents=True, exist_ok=True)
    stdin = listed(sys.stdin.buffer, b"\0" if nul else b"\n") if nul or "-" in paths else ()
    job = job_of(manifest, file, model, runtime, threads, rule, follow, str(annotate) if annotate else None)
    with Interrupt() as interrupt, Workers(processes) as pool, Store(database) as store:
        loaded = pool.start(job)
        on = f"{loaded.runtime} {loaded.version}"
        verified = ensure_verified(opened, file, loaded.runtime, loaded.version)
        store.use(BundleKey(opened.sha256, manifest.name, manifest.version, file.name, on, manifest.labels), verified)
        origin = Origin(opened.sha256, file.name, on, verified, APP)
        if verbose:
            met = f"{manifest.name} {manifest.version}, {file.name} on {on}, verified by {verified}"
            click.echo(f"{met}; refer below {rule.decision.refer_below:g}; {printable(str(database))}", err=True)
        summary = Summary(show_progress=not (quiet or sys.stdout.isatty()))
        passed = PassedOver(passed_over, aloud=verbose)
        try:
            outputs = outputs_of(jsonl, csv_file, manifest.labels, quiet)
        except OutputError:
            passed.discard()
            raise
        listing = itertools.chain((os.fsencode(path) for path in paths if path != "-"), stdin)
        files = Files(listing, Choice(include, exclude, follow), passed.add, without=annotate)
        with ExitStack() as closing:  # also after an error: what was answered is in the files
            closing.callback(passed.close)
            for output in (*outputs, summary):
                closing.callback(output.close)
            enveloped = manifest.envelope is not None
            for lines in Scan(pool, store, files, origin, rule, enveloped, again, utc_now, stop=interrupt.__bool__):
                for output in (*outputs, summary):
                    output.write(lines)
    if not quiet:
        click.echo("\n".join(filter(None, (summary.text(), passed.text()))), err=True)
    if interrupt:
        return interrupt.status
    if not summary.decisions:
        globs = ", and what --include and --exclude name" if include or exclude else ""
        raise SourceError(
            "E-SOURCE-EMPTY", f"no image was found in what was given: check the paths and their extensions{globs}"
        )
    return exit_status.SOME_REFUSED if summary.decisions[REFUSED] or passed.links else 0
