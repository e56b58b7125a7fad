"""`limiar run`."""

from pathlib import Path

import click

from limiar.edge_app.commands.options import FILE


@click.command()
@click.argument("config", type=FILE)
@click.option("--init", is_flag=True, help="Write CONFIG as a new file with every key explained, then stop.")
@click.option("--check", is_flag=True, help="Only check CONFIG and what it names, then stop.")
def run(config: Path, init: bool, check: bool) -> int:
    """Answer folders and cameras for as long as this device runs, as CONFIG says.

    An image in a watched folder is answered, its answer is kept, and the file is moved to done/; a file that has no
    answer goes to quarantine/, beside NAME.json, which says why. A part that dies is started again. SIGTERM and Ctrl-C end the
    service cleanly; SIGHUP makes it read CONFIG again.

    \b
    Example:
      limiar run limiar.toml --init
      limiar run limiar.toml --check
      limiar run limiar.toml
    """
    if init and check:
        raise click.UsageError("Give --init or --check, not both.")
    if init:
        from limiar.edge_app.service.config import TEMPLATE
        from limiar.edge_app.service.config_file import write_template

        write_template(config, TEMPLATE, 0o644)
        return 0
    if check:
        return _check(config)
    from limiar.edge_app.service.service import run_service

    return run_service(config)


def _check(path: Path) -> int:
    from limiar.edge_app.service.check import check_config
    from limiar.edge_app.service.config import read_config

    said = check_config(path)
    if (fleet := read_config(path).fleet).broker:
        from limiar.edge_app.fleet.job import check_fleet

        check_fleet(fleet)
    click.echo(said)
    return 0
