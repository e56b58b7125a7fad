"""`limiar rollback`."""

from pathlib import Path

import click

from limiar.edge_app.commands.options import state_option


@click.command()
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
def rollback(state: Path, as_json: bool) -> int:
    """Go back to the bundle before, which was good on this device.

    The one that was current stays in its slot: the same command goes forward to it again, if it was good too.

    \b
    Example:
      limiar rollback
    """
    import msgspec

    from limiar.edge_app.install.install import roll_back
    from limiar.edge_app.install.telling import tell

    done = roll_back(state)
    click.echo(msgspec.json.encode(done) if as_json else f"{done.name} {done.version} is current again")
    tell(state, "roll-back", msgspec.structs.asdict(done))
    return 0
