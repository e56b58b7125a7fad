"""`limiar evaluate`. Needs no TensorFlow: it runs on a device too."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app import exit_status
from limiar.edge_app.commands.options import FILE, AnswerOptions, answering_options, tiling_options
from limiar.edge_app.text import for_json

if TYPE_CHECKING:
    from limiar.edge_app.inference.tiling import Tiling


@click.command()
@click.argument("bundle", type=FILE)
@click.argument("data", type=FILE)
@click.option(
    "--csv", type=FILE, metavar="TABLE", help="Table with the columns file and label, and optionally split and group."
)
@click.option(
    "--split",
    type=click.Choice(["test", "val", "train", "all"]),
    help="Images to score. Default: test if the data say which images that are, otherwise all.",
)
@answering_options("an image")
@tiling_options
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option(
    "--marks", type=FILE, metavar="TABLE", help="Table of marked positions that tiles should find: file, x, y[, radius]."
)
@click.option("--group-by", metavar="COLUMN", help="Also score the images with each value of a column of the table.")
@click.option("--worst", type=click.IntRange(0, 1000), default=10, show_default=True, help="Wrong images to name.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--html", type=FILE, metavar="FILE", help="Also write a page with plots (`pip install 'limiar[html]'`).")
def evaluate(
    bundle: Path,
    data: Path,
    csv: Path | None,
    split: str | None,
    answering: AnswerOptions,
    workers: int,
    tiles: "Tiling",
    marks: Path | None,
    group_by: str | None,
    worst: int,
    as_json: bool,
    html: Path | None,
) -> int:
    """Score BUNDLE on the labelled images in DATA, on this machine.

    DATA takes every form that `limiar train` takes: class folders, names that end in _pos and _neg, a table. Print accuracy,
    sensitivity, specificity, AUC, refer rate and calibration with 95 % intervals, what was decided for each label, and the
    worst images. If the table has the column group (patient, scan), the intervals allow for images of one group being alike. A
    refused image counts as wrong; the exit status is then 4.

    \b
    Example:
      limiar evaluate models/lung-nodule images/
      limiar evaluate bundles/first images/ --csv labels.csv --group-by scanner --html evaluation.html
    """
    import msgspec

    from limiar.convert.evaluate.evaluate import evaluate
    from limiar.convert.evaluate.table import lines
    from limiar.edge_app.system.progress import ProgressLine

    with ProgressLine() as line:
        found = evaluate(
            bundle,
            data,
            **answering,
            csv=csv,
            split=split,
            workers=workers,
            tiles=tiles,
            marks=marks,
            group_by=group_by,
            worst=worst,
            html=html,
            tick=lambda done, total: line.draw(f"images: {done} of {total}"),
        )
    for note in found.notes:
        click.echo(note, err=True)
    click.echo(for_json(msgspec.json.format(msgspec.json.encode(found), indent=1)) if as_json else "\n".join(lines(found)))
    return exit_status.SOME_REFUSED if found.refused else 0
