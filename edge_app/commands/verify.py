"""`limiar verify`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app import exit_status
from limiar.edge_app.commands.options import key_options, keys_of

if TYPE_CHECKING:
    pass


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@key_options
def verify(bundle: Path, as_json: bool, key_files: tuple[Path, ...], revoked_files: tuple[Path, ...]) -> int:
    """Check a bundle on this machine: every file's size and hash, and every golden image on every runtime installed here.

    With --key, check who signed it too. Exit status 3: something differs. Give what --json prints to `limiar convert
    --verified`, and the bundle will say that it was verified here.

    \b
    Example:
      limiar verify models/lung-nodule
      limiar verify bundles/first --key release.pub --key next.pub --revoked stolen.pub
    """
    import msgspec

    from limiar.edge_app.inference.verify import print_table
    from limiar.edge_app.inference.verify import verify as verified

    found = verified(bundle, keys_of(key_files, revoked_files))
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        print_table(found)
    return 0 if found.passed else exit_status.FAILED_CHECK
