"""`limiar verify`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app import exit_status
from limiar.edge_app.commands.options import FILE, key_options, keys_of
from limiar.edge_app.text import counted

if TYPE_CHECKING:
    from limiar.edge_app.inference.verify import Verification

_OUTCOMES = {True: click.style("pass", fg="green"), False: click.style("FAIL", fg="red")}


@click.command()
@click.argument("bundle", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@key_options
def verify(bundle: Path, as_json: bool, key_files: tuple[Path, ...], revoked_files: tuple[Path, ...]) -> int:
    """Check a bundle on this machine: every file's size and hash, and every golden image on every runtime installed here.

    With --key, also check who signed it. Exit status 3: something differs. Give the output of --json to `limiar convert
    --verified`, and the bundle will say that it was verified here.

    \b
    Example:
      limiar verify models/lung-nodule
      limiar verify bundles/first --key release.pub --key next.pub --revoked stolen.pub
    """
    import msgspec

    from limiar.edge_app.inference.verify import verify as verified

    found = verified(bundle, keys_of(key_files, revoked_files))
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        _print_table(found)
    return 0 if found.passed else exit_status.FAILED_CHECK


def _print_table(found: "Verification") -> None:
    """The outcome for a person."""
    if found.error:
        click.echo(found.error, err=True)
        return
    click.echo(f"{found.name} {found.version}, manifest sha256 {found.bundle[:12]}")
    click.echo(f"{counted(found.files, 'file')}: size and sha256 as in the manifest; signature: {found.signature}")
    wide = max([17, *(len(check.file) for check in found.checks)])
    click.echo(f"\n{'model file':<{wide}} {'runtime':<22} {'images':>6} {'largest difference':>18}  outcome")
    for check in found.checks:
        if check.passed is None:
            continue
        apart = "" if check.largest_difference is None else f"{check.largest_difference:.3g} of {check.tolerance:.3g}"
        runtime = f"{check.runtime} {check.version or ''}"
        click.echo(f"{check.file:<{wide}} {runtime:<22} {check.images or '':>6} {apart:>18}  {_OUTCOMES[check.passed]}")
        if check.message:
            click.echo(f"    {check.message}")
    for missing in dict.fromkeys(f"{one.runtime} is {one.message}" for one in found.checks if one.passed is None):
        click.echo(f"not checked: {missing}")
    click.echo("\n" + (click.style("PASS", fg="green") if found.passed else click.style("FAIL", fg="red")))
