"""`limiar phantoms`. numpy is imported when the command runs, not for --help."""

import sys
from pathlib import Path

import click

from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1, 1_000_000), required=True, help="How many; every second one has a nodule.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Seed of the patches.")
@click.option("--dicom", is_flag=True, help="Write them as CT files: DICOM in Hounsfield units, six patches to a study.")
def phantoms(out: Path, count: int, seed: int, dicom: bool) -> None:
    """Make CT-like patches with exact labels: 50x50 grey PNG, named ..._pos.png or ..._neg.png, in the new folder OUT.

    \b
    Example:
      limiar phantoms images/ --count 1500 --seed 1
      limiar phantoms slices/ --count 1500 --seed 1 --dicom
    """
    from limiar.edge_app.system.interrupt import Interrupt
    from limiar.train.commands.terminal import Terminal
    from limiar.train.data.phantom_folder import write_phantoms

    with Terminal() as terminal, Interrupt() as interrupt:

        def tick(done: int, total: int) -> None:
            terminal.step(f"phantoms {done}/{total}")
            if interrupt:
                sys.exit(interrupt.status)

        write_phantoms(out, count, seed=seed, dicom=dicom, tick=tick)
    click.echo(f"{counted(count, 'phantom')} of seed {seed}: {printable(str(out))}")
