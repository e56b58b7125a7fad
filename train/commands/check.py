"""`limiar check`. numpy and other heavy packages are imported when the command runs, not for --help."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from limiar.edge_app import exit_status
from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted
from limiar.train.commands.options import image_options

if TYPE_CHECKING:
    from limiar.train.check.check_report import CheckFinding, CheckReport

_LISTED = 20  # classes in a line, the others are counted
_NAMED = 5  # images of a finding in the table; --json and --html have all
_COLOURS = {"fault": "red", "warning": "yellow", "note": "blue"}


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@image_options
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Seed of the split, as for train."
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change the shares of splits or the fewest images of a class, as for train.",
)
@click.option("--labels/--no-labels", default=True, help="Look for wrong labels, which takes the longest. Default: yes.")
@click.option("--json", "as_json", is_flag=True, help="Print everything found as JSON on stdout.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Also write a page that shows the images.")
def check(data: Path, as_json: bool, html: Path | None, **options: Any) -> int:
    """Look for what is wrong with the images in DATA, before a model is trained on them.

    Unreadable and blank images, duplicates and near duplicates, groups in two splits, classes that are missing, too small or
    unbalanced, labels that look wrong, traits that give the label away. The split is the given one, or else the one that
    `limiar train` would draw. The exit status is 3 if there is a fault; warnings and notes do not count.

    \b
    Example:
      limiar check images/
      limiar check images/ --csv labels.csv --html check.html
    """
    from limiar.train.check.check_data import check_data
    from limiar.train.check.check_page import write_page
    from limiar.train.commands.terminal import Terminal

    with Terminal() as terminal:
        report = check_data(data, **options, tick=lambda what, done, total: terminal.step(f"{what} {done}/{total}"))
        for note in report.notes:
            terminal.note(note)
    if as_json:
        click.echo(report.as_json())
    else:
        _print(report)
    if html is not None:  # last: what was found is not lost to a page that cannot be written
        write_page(report, html)
    return 0 if report.passed else exit_status.FAILED_CHECK


def _print(report: "CheckReport") -> None:
    names = [printable(label) for label in report.labels]
    drawn = f"split drawn with seed {report.seed}" if report.drawn else "split as given"
    click.echo(f"{report.folder}: {counted(report.images, 'image')}, {report.refused} refused; {drawn}")
    for part, counts in report.parts.items():
        click.echo(f"  {part:<6} {_counts([counts[label] for label in report.labels], names)}")
    if report.judged:
        told = f"{report.judged.accuracy:.3f} of {report.judged.images} agree with a model that has not seen them, "
        told += f"{100 * report.judged.exchanged:.1f} % are estimated to be wrong"
        click.echo(f"  labels {told}")
    if report.evidence:
        click.echo(f"  {report.evidence.text()}")
    for finding in report.findings:
        _print_finding(finding)
    faults, warnings, notes = (sum(one.severity == severity for one in report.findings) for severity in _COLOURS)
    outcome = click.style("PASS", fg="green") if report.passed else click.style("FAIL", fg="red")
    click.echo(f"\n{outcome}: {counted(faults, 'kind')} of fault, {warnings} of warning, {notes} of note")


def _counts(images: list[int], names: list[str]) -> str:
    """How many images a part has of each class, in one line."""
    if len(names) <= _LISTED:
        return ", ".join(f"{count} {name}" for count, name in zip(images, names, strict=True))
    fewest, most = min(images), max(images)
    each = str(fewest)
    if fewest < most:
        each += f" ({names[images.index(fewest)]}) to {most} ({names[images.index(most)]})"
    return f"{sum(images)} images, {each} of each of {len(names)} classes: --json and --html have them"


def _print_finding(finding: "CheckFinding") -> None:
    severity = click.style(f"{finding.severity:<8}", fg=_COLOURS[finding.severity])
    click.echo(f"\n{severity} {finding.count:>6}  {finding.kind}: {finding.text}")
    for case in finding.cases[:_NAMED]:
        files = [printable(file) for file in case.files[:_NAMED]]
        more = [f"and {len(case.files) - _NAMED} more"] if len(case.files) > _NAMED else []
        click.echo(f"{'':<17}{'; '.join(part for part in (', '.join([*files, *more]), case.text) if part)}")
    if len(finding.cases) > _NAMED:
        click.echo(f"{'':<17}and {len(finding.cases) - _NAMED} more: --json and --html have them")
