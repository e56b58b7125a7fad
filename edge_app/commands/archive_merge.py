"""`limiar archive merge`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app.commands.options import FILE, with_extra
from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted

if TYPE_CHECKING:
    from limiar.edge_app.archive.merge import Merged

_MB = 1_000_000


@click.command()
@click.argument("out", type=FILE)
@click.option("--out", "to", type=FILE, required=True, metavar="FILE|DIR", help="A .parquet file, or a new folder of them.")
@click.option("--partial", is_flag=True, help="Do without the chunks that are not done.")
@click.option("--json", "as_json", is_flag=True, help="Print what was merged as one JSON object.")
@with_extra("archive")
def merge(out: Path, to: Path, partial: bool, as_json: bool) -> int:
    """Make one result of the answers of the archive OUT, in the order of its plan.

    Each image counts once: of rows with the same sha256, frame, bundle, model file and runtime, the first answer is kept. The
    result appears whole or not at all.

    \b
    Example:
      limiar archive merge work --out answers.parquet
      limiar archive merge work --out answers/
    """
    import msgspec

    from limiar.edge_app.archive.columns import without_pandas
    from limiar.edge_app.archive.merge import merge_archive
    from limiar.edge_app.system.interrupt import unwound
    from limiar.edge_app.system.progress import ProgressLine

    without_pandas()
    with unwound(), ProgressLine() as line:
        merged = merge_archive(
            out, to, partial=partial, progress=lambda step, rows, of: line.draw(f"{step}: {100 * rows // max(1, of)} %")
        )
    click.echo(msgspec.json.encode(merged) if as_json else _said(to, merged))
    return 0


def _said(to: Path, merged: "Merged") -> str:
    size = f"{merged.bytes / _MB:.1f} MB" + (f" in {counted(merged.files, 'file')}" if merged.files > 1 else "")
    refused = sum(merged.refused.values())
    said = f"{printable(str(to))}: {counted(merged.rows, 'row')}, {refused} refused, {size}; {merged.double} double left out"
    return said + (f"; {counted(merged.missing, 'chunk')} missing" if merged.missing else "")
