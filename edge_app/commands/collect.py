"""`limiar collect`."""

from pathlib import Path

import click

from limiar.edge_app.commands.options import FILE, with_extra


@click.command()
@click.argument("config", type=FILE)
@click.option("--init", is_flag=True, help="Write CONFIG as a new file with every key explained, then stop.")
@click.option("--check", is_flag=True, help="Only check CONFIG and what it names, then stop.")
@with_extra("collect")
def collect(config: Path, init: bool, check: bool) -> int:
    """Take what the devices of a fleet send to the broker, and keep it in one database, as CONFIG says.

    A device forgets a row only when this command has committed it and said so. While the database or the broker is away,
    this command waits and the devices keep their rows. SIGTERM and Ctrl-C end it cleanly.

    \b
    Example:
      limiar collect collect.toml --init
      limiar collect collect.toml --check
      limiar collect collect.toml
      limiar results --fleet collect.toml --decision refer
      limiar status --fleet collect.toml
    """
    if init and check:
        raise click.UsageError("Give --init or --check, not both.")
    if init:
        from limiar.edge_app.collect.config import TEMPLATE
        from limiar.edge_app.service.config_file import write_template

        write_template(config, TEMPLATE, 0o600)  # it may get a password
        return 0
    from limiar.edge_app.collect.config import read_config

    if check:
        from limiar.edge_app.collect.check import check_config

        click.echo(check_config(config))
        return 0
    from limiar.edge_app.collect.run import run_collector

    return run_collector(read_config(config))
