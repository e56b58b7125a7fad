"""`limiar phone`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app.commands.options import FILE, keys_of
from limiar.edge_app.errors import printable

if TYPE_CHECKING:
    from limiar.edge_app.phone.phone import Written


@click.command()
@click.argument("bundle", type=FILE)
@click.option("--out", required=True, type=FILE, metavar="DIR|FILE.html", help="Write a folder, or one file, here.")
@click.option("--file", metavar="NAME", help="TFLite file of the bundle, such as `tflite_int8`. Default: the bundle's own.")
@click.option(
    "--trust", "keys", type=FILE, multiple=True, metavar="FILE.pub", help="Ask for a signature by this key at every start."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as one JSON object.")
def phone(bundle: Path, out: Path, file: str | None, keys: tuple[Path, ...], as_json: bool) -> int:
    """Write a page with which a phone answers by itself, in its browser, without a network.

    It answers files, folders and the camera with the integers of a desktop, by the bundle's golden images at every start, and
    keeps the answers on the phone. A folder is served over https, or on localhost, and can be installed from there; one file
    opens from a disk. An earlier page there is replaced.

    \b
    Example:
      limiar phone models/lung-nodule --out nodules
      limiar phone bundles/first --trust release.pub --out first.html
    """
    import msgspec

    from limiar.edge_app.phone.phone import phone as written

    found = written(bundle, out, file=file, keys=keys_of(keys, ()))
    click.echo(msgspec.json.encode(found) if as_json else _described(found))
    return 0


def _described(found: "Written") -> str:
    """What was written, and how to open it."""
    where = printable(found.out)
    lines = [f"{where}: {found.name} {found.version}, {found.file} on {found.runtime}, {found.bytes / 1e6:.1f} MB"]
    if found.one_file:
        lines.append("Open the file in a browser.")
    else:
        lines.append(f"Here: python3 -m http.server --bind 127.0.0.1 --directory {where}, then http://localhost:8000/")
        lines.append("For phones, serve the folder over https: there a browser also installs it.")
    return "\n".join(lines)
