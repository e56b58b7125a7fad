"""`limiar archive compare`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app import exit_status
from limiar.edge_app.commands.options import FILE, with_extra
from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted, for_json

if TYPE_CHECKING:
    from limiar.edge_app.archive.comparison import Comparison

_PRINTED = 20  # transitions; --json has all


@click.command()
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@click.option("--html", type=FILE, metavar="FILE", help="Also write a page, with pictures of the images to look at.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole comparison as JSON.")
@click.option("--images", type=click.IntRange(0, 1000), default=60, show_default=True, help="List so many images to look at.")
@click.option("--partial", is_flag=True, help="Do without the chunks that are not done.")
@click.option("--scratch", type=FILE, metavar="DIR", help="For what is needed meanwhile.  [default: TMPDIR, or /tmp]")
@click.option(
    "--fail-above",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Exit with status 3 if more of the images than this are decided differently, or images are only in one.",
)
@with_extra("archive")
def compare(
    old: Path,
    new: Path,
    html: Path | None,
    as_json: bool,
    images: int,
    partial: bool,
    scratch: Path | None,
    fail_above: float | None,
) -> int:
    """Say what a new bundle changes over an archive: the answers of OLD and of NEW to the same images.

    Each is the folder of an archive, or what `limiar archive merge` wrote. Images are joined by their sha256.

    \b
    Example:
      limiar archive plan next --bundle bundles/1.1.0 /data/images
      limiar archive run next
      limiar archive compare work next --html changes.html
    """
    import msgspec

    from limiar.edge_app.archive.columns import without_pandas
    from limiar.edge_app.archive.compare import compare_archives
    from limiar.edge_app.system.interrupt import unwound
    from limiar.edge_app.system.progress import ProgressLine

    without_pandas()
    with unwound(), ProgressLine() as line:
        found = compare_archives(
            old, new, images=images, partial=partial, scratch=scratch,
            progress=lambda step, rows, of: line.draw(f"{step}: {100 * rows // max(1, of)} %"),
        )  # fmt: skip
        if html:
            from limiar.edge_app.archive.compare_page import write_page

            write_page(html, found, old, new)
    click.echo(for_json(msgspec.json.encode(found)) if as_json else "\n".join(map(printable, _lines(found))))
    return exit_status.FAILED_CHECK if fail_above is not None and _exceeds(found, fail_above) else 0


def _exceeds(found: "Comparison", percent: float) -> bool:
    """Images that only one side has cannot be compared, so they count as changed."""
    alone = found.only_old + found.only_new
    return 100 * (found.changed.images + alone) > percent * (found.compared + alone)


def _lines(found: "Comparison") -> Iterator[str]:
    yield found.summary
    for title, side in (("old", found.old), ("new", found.new)):
        name = f"{side.name}, " if side.name else ""
        missing = f", {counted(side.missing, 'chunk')} missing" if side.missing else ""
        rows = f"{counted(side.rows, 'row')}, {side.double} double{missing}"
        yield f"{title} {name}{side.bundle[:12]}, {side.file} on {side.runtime}: {rows}"
    if found.only_old or found.only_new:
        yield f"only in old {found.only_old}, only in new {found.only_new}"
    for one in [one for one in found.transitions if one.old != one.new][:_PRINTED]:
        yield f"  {one.old} -> {one.new}: {one.images}"
    for code in found.codes[:_PRINTED]:
        if code.old != code.new:
            yield f"  {code.old or 'answered'} -> {code.new or 'answered'}: {code.images}"
