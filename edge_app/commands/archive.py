"""`limiar archive`: the group, and its commands that plan and tell how far it is."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from limiar.edge_app import exit_status
from limiar.edge_app.commands.archive_compare import compare
from limiar.edge_app.commands.archive_merge import merge
from limiar.edge_app.commands.archive_run import run
from limiar.edge_app.commands.options import (
    FILE,
    file_option,
    key_options,
    keys_of,
    plain_uids_option,
    refer_below_option,
    runtime_option,
    tiling_options,
    with_extra,
)
from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted

if TYPE_CHECKING:
    from limiar.edge_app.archive.plan import Plan
    from limiar.edge_app.archive.status import ArchiveStatus
    from limiar.edge_app.inference.rule import OutsideRule
    from limiar.edge_app.inference.tiling import Tiling

_MB = 1_000_000


@click.group()
def archive() -> None:
    """Answer millions of images: plan chunks, run them anywhere, merge the answers, compare bundles.

    \b
    Example:
      limiar archive plan work --bundle models/lung-nodule /data/images s3://bucket/scans/
      limiar archive run work --workers 8
      limiar archive merge work --out answers.parquet
    """


archive.add_command(run)
archive.add_command(merge)
archive.add_command(compare)


@archive.command()
@click.argument("out", type=FILE)
@click.argument("sources", nargs=-1)
@click.option("--bundle", type=FILE, required=True, help="The bundle that answers.")
@file_option
@runtime_option
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, metavar="N", help="Inference threads.")
@refer_below_option
@click.option(
    "--outside",
    type=click.Choice(["refer", "refuse", "ignore"]),
    default="refer",
    show_default=True,
    help="What to do with an image that is unlike the training images.",
)
@tiling_options
@plain_uids_option
@key_options
@click.option("--include", multiple=True, metavar="GLOB", help="In folders, take only what matches.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="In folders, leave out what matches.")
@click.option("--follow", is_flag=True, help="Follow links to files and folders; enter each folder only once.")
@click.option("--list", "listing", metavar="FILE", help="Read paths and addresses from a file, one a line; - reads stdin.")
@click.option("-0", "nul", is_flag=True, help="In the list, NUL ends each, not a line end.")
@click.option("--passed-over", type=FILE, metavar="FILE", help="List what folders hold besides pictures: JSON lines, or .csv.")
@click.option(
    "--chunk-megabytes", type=click.IntRange(1, 100_000), default=64, show_default=True, help="Size of a chunk's images."
)
@click.option(
    "--chunk-images", type=click.IntRange(1, 1_000_000), default=10_000, show_default=True, help="At most, in a chunk."
)
@with_extra("archive")
def plan(
    out: Path,
    sources: tuple[str, ...],
    bundle: Path,
    file: str | None,
    runtime: str | None,
    threads: int,
    refer_below: float | None,
    outside: "OutsideRule",
    tiles: "Tiling",
    plain_uids: bool,
    key_files: tuple[Path, ...],
    revoked_files: tuple[Path, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    follow: bool,
    listing: str | None,
    nul: bool,
    passed_over: Path | None,
    chunk_megabytes: int,
    chunk_images: int,
) -> int:
    """Cut images into chunks, in the new folder OUT: files, folders, and objects such as s3://BUCKET/FOLDER/.

    Folders are entered as `limiar scan` enters them. Nothing is answered yet, and no image is read.

    \b
    Example:
      limiar archive plan work --bundle models/lung-nodule /data/images
      find /data -name '*.png' -print0 | limiar archive plan work --bundle models/lung-nodule --list - -0
    """
    from limiar.edge_app.archive.make_plan import plan_archive
    from limiar.edge_app.output.passed_over import PassedOver
    from limiar.edge_app.system.interrupt import unwound
    from limiar.edge_app.system.progress import ProgressLine

    if not sources and listing is None:
        raise click.UsageError("Give files, folders, addresses of objects, or --list FILE.")
    passed = PassedOver()
    with unwound(), passed.listed_in(passed_over), ProgressLine() as line:
        made = plan_archive(
            out, bundle, _sources(sources, listing, nul),
            file=file, runtime=runtime, threads=threads, refer_below=refer_below, outside=outside, tiles=tiles,
            plain_uids=plain_uids, include=include, exclude=exclude, follow=follow,
            chunk_bytes=chunk_megabytes * _MB, chunk_images=chunk_images, passed_over=passed.add,
            progress=lambda images, size: line.draw(f"{counted(images, 'image')}, {size / _MB:.0f} MB"),
            keys=keys_of(key_files, revoked_files),
        )  # fmt: skip
    click.echo("\n".join(filter(None, [_planned(out, made.plan), passed.text()])), err=True)
    return 0


def _planned(out: Path, made: "Plan") -> str:
    what = f"{counted(made.images, 'image')}, {made.bytes / _MB:.1f} MB, in {counted(made.chunks, 'chunk')}"
    return f"{printable(str(out))}: {what}, for {printable(made.name)} {printable(made.version)}, {made.file} on {made.runtime}"


def _sources(given: tuple[str, ...], listing: str | None, nul: bool) -> "Iterator[str | bytes | None]":
    """The sources given as arguments, then those of the list. Raises SourceError E-SOURCE-LIST, ArchiveError E-PLAN-SOURCE."""
    from limiar.edge_app.archive.objects import is_address
    from limiar.edge_app.errors import ArchiveError, SourceError
    from limiar.edge_app.scan.paths import listed

    if "-" in given or (nul and listing is None):
        raise click.UsageError("Give --list - to read paths from stdin; -0 is for a list too.")
    for source in given:  # all of them, before a folder of millions is listed
        if not is_address(os.fsencode(source)) and not os.path.lexists(source):
            raise ArchiveError("E-PLAN-SOURCE", f"{printable(source)} is not there: check the path")
    yield from given
    if listing is None:
        return
    separator = b"\0" if nul else b"\n"
    if listing == "-":
        if not sys.stdin:
            raise click.UsageError("Cannot read paths: stdin is closed.")
        yield from listed(sys.stdin.buffer, separator)
        return
    try:
        stream: BinaryIO = open(listing, "rb")  # noqa: SIM115 closed below
    except OSError as error:
        met = f"{printable(listing)}: {error.strerror}"
        raise SourceError("E-SOURCE-LIST", f"{met}: give a file with a path or address in each line") from None
    with stream:
        yield from listed(stream, separator)


@archive.command()
@click.argument("out", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@click.option("--missing", is_flag=True, help="Print the numbers of the chunks that are not done, one a line.")
@with_extra("archive")
def status(out: Path, as_json: bool, missing: bool) -> int:
    """Say how far the archive OUT is: chunks, images, what was refused, what failed.

    Exit status 3 if a chunk has failed, or the file of one that is done cannot be read.

    \b
    Example:
      limiar archive status work
      limiar archive status work --missing | xargs -r -n 1 -P 4 limiar archive run work --chunk
    """
    import msgspec

    from limiar.edge_app.archive.plan import open_archive
    from limiar.edge_app.archive.status import archive_status
    from limiar.edge_app.text import for_json

    if as_json and missing:
        raise click.UsageError("Give --json or --missing, not both.")
    if missing:
        for chunk in open_archive(out).missing():
            click.echo(chunk.number)
        return 0
    found = archive_status(out)
    click.echo(for_json(msgspec.json.encode(found)) if as_json else "\n".join(_lines(found)))
    return exit_status.FAILED_CHECK if found.failures else 0


def _lines(found: "ArchiveStatus") -> Iterator[str]:
    """The status for a person."""
    rows = {
        "bundle": f"{found.name} {found.version}, {found.bundle[:12]}, {found.file} on {found.runtime}",
        "chunks": f"{found.done} of {found.chunks} done" + (f", {found.failed} failed" if found.failed else ""),
        "images": f"{found.images_done} of {found.images}, {found.bytes_done / _MB:.1f} of {found.bytes / _MB:.1f} MB",
        "answers": counted(found.rows, "row"),
        "refused": ", ".join(f"{count} {code}" for code, count in found.refused.items()) or "none",
    }
    for name, text in rows.items():
        yield f"{name:<8} {printable(text)}"
    for failure in found.failures:
        tried = f" (tried {failure.tries} times)" if failure.tries > 1 else ""
        yield click.style(printable(f"chunk {failure.number}: {failure.code}: {failure.message}{tried}"), fg="red")
