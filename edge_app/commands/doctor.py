"""`limiar doctor`."""

from typing import TYPE_CHECKING

import click

from limiar.edge_app import exit_status

if TYPE_CHECKING:
    pass


@click.command()
@click.option("--json", "as_json", is_flag=True, help="What was found as one JSON object.")
def doctor(as_json: bool) -> int:
    """Say what this machine is, what is installed, and what is missing with the command that gets it.

    Exit status 3 where something that limiar needs is missing or broken.

    \b
    Example:
      limiar doctor --json
    """
    import msgspec

    from limiar.edge_app.doctor import diagnose, print_diagnosis

    found = diagnose()
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        print_diagnosis(found)
    return 0 if not found.problems else exit_status.FAILED_CHECK
