"""`limiar pack`."""

from pathlib import Path

import click

from limiar.edge_app.commands.options import FILE
from limiar.edge_app.errors import printable


@click.command()
@click.argument("bundle", type=FILE)
@click.option("--out", type=FILE, required=True, metavar="FILE.limiar", help="The file to write.")
def pack(bundle: Path, out: Path) -> int:
    """Write a bundle as one file, to carry it to devices: `limiar install` takes it.

    The same bundle always gives the same bytes, and a signature of the bundle stays valid.

    \b
    Example:
      limiar pack bundles/first --out first.limiar
    """
    from limiar.edge_app.bundle.archive import write_archive
    from limiar.edge_app.bundle.open import open_bundle

    write_archive(open_bundle(bundle), out)
    click.echo(f"{printable(str(out))}: {out.stat().st_size} bytes")
    return 0
