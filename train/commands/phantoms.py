"""`limiar phantoms`. numpy is imported when the command runs, not for --help."""

import sys
from pathlib import Path

import click

from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1, 1_000_000), help="How many patches; every second one has a nodule.")
@click.option("--series", type=click.IntRange(1, 1000), help="How many CT series, in place of patches.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Seed of the patches or series.")
@click.option("--dicom", is_flag=True, help="Write patches as CT files: DICOM in Hounsfield units, six to a study.")
@click.option(
    "--from-series", is_flag=True, help="Cut the patches from series: DICOM, 40x40 pixels, spheres in place of nodules."
)
@click.option("--empty", is_flag=True, help="Leave the spheres out of the series.")
def phantoms(out: Path, count: int | None, series: int | None, seed: int, dicom: bool, from_series: bool, empty: bool) -> None:
    """Make images with exact labels, of no patient, in the new folder OUT.

    With --count they are CT-like patches: 50x50 grey PNG, named ..._pos.png or ..._neg.png. With --series they are whole CT
    series of 40 slices of 512x512, as DICOM files, with spheres in the lungs; truth.json says where, and marks.csv in which
    slices. A model that is trained on patches --from-series of another seed finds those spheres with `limiar series`.

    \b
    Example:
      limiar phantoms images/ --count 1500 --seed 1
      limiar phantoms slices/ --count 1500 --seed 1 --dicom
      limiar phantoms patches/ --count 6000 --seed 1 --from-series
      limiar phantoms ct/ --series 2 --seed 2
    """
    if (count is None) == (series is None):
        raise click.UsageError("Give --count for patches, or --series for whole series.")
    if series is None and empty:
        raise click.UsageError("--empty leaves spheres out of series: give --series.")
    if series is not None and (dicom or from_series):
        raise click.UsageError("--dicom and --from-series are about patches: give --count.")
    from limiar.edge_app.system.interrupt import Interrupt
    from limiar.train.commands.terminal import Terminal
    from limiar.train.data import phantom_folder as folder

    with Terminal() as terminal, Interrupt() as interrupt:

        def tick(done: int, total: int) -> None:
            terminal.step(f"phantoms {done}/{total}")
            if interrupt:
                sys.exit(interrupt.status)

        if series is not None:
            folder.write_phantom_series(out, series, seed=seed, empty=empty, tick=tick)
        else:
            folder.write_phantoms(out, count or 0, seed=seed, dicom=dicom, from_series=from_series, tick=tick)
    made = counted(series, "series", "series") if series else counted(count or 0, "phantom")
    click.echo(f"{made} of seed {seed}: {printable(str(out))}")
