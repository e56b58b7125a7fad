"""`limiar compare`. Heavy imports happen when the command runs, not for --help."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app import exit_status
from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted, for_json

if TYPE_CHECKING:
    from limiar.convert.compare.bench_results import BenchReview
    from limiar.convert.compare.compare import Review
    from limiar.convert.compare.machines import BenchTable


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.argument("more", type=click.Path(path_type=Path), nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print the whole comparison as JSON.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Also write a page for a reviewer.")
@click.option(
    "--fail-on",
    type=click.Choice(["undecided", "worse", "not-comparable"]),
    help="Exit with status 3 if the outcome is this or graver.",
)
def compare(old: Path, new: Path, more: tuple[Path, ...], as_json: bool, html: Path | None, fail_on: str | None) -> int:
    """Say whether NEW is better than OLD: two bundles, two RUNs, or two results of `limiar bench --json`.

    MORE results of bench make a table and a plot of all of them, such as one for each machine, without a verdict.

    The first line says better, worse, same (every image gets the same answer) or undecided for each class, with 95 % intervals.
    If predictions.csv is in BUNDLE.measured beside both bundles, they are compared image by image, on the images that are in
    both test splits; otherwise only their figures are compared. Figures of different images are not comparable: the
    result says so first, and --fail-on treats it as graver than worse.

    \b
    Example:
      limiar compare bundles/1.0.0 bundles/1.1.0 --html review.html
      limiar compare runs/first runs/second --fail-on worse
      limiar compare bench-1.0.0.json bench-1.1.0.json --fail-on worse
      limiar compare pi4.json pi5.json desktop.json --html machines.html
    """
    if more and fail_on:
        raise click.UsageError("--fail-on is about two: a table of more has no verdict.")
    import msgspec

    from limiar.convert.compare.compare import compare
    from limiar.convert.compare.machines import BenchTable

    review = compare(old, new, *more)
    if html is not None:
        from limiar.convert.compare.page import write_page

        write_page(html, review)
    if as_json:
        click.echo(for_json(msgspec.json.format(msgspec.json.encode(review), indent=1)))
    else:
        _print(review)
    return exit_status.FAILED_CHECK if fail_on and not isinstance(review, BenchTable) and review.reaches(fail_on) else 0


def _print(review: "Review | BenchReview | BenchTable") -> None:
    from limiar.convert.compare.bench_results import BenchReview
    from limiar.convert.compare.machines import BenchTable, lines_of

    click.echo(printable(review.summary))
    if isinstance(review, BenchTable):
        for line in lines_of(review):
            click.echo(printable(line))
        return
    click.echo(printable(f"old {review.old}, new {review.new}"))
    for note in review.notes:
        click.echo(printable(note))
    if isinstance(review, BenchReview):
        _print_timings(review)
    else:
        _print_files(review)


def _print_files(review: "Review") -> None:
    from limiar.convert.compare.compare import points
    from limiar.convert.report.release_report import kilobytes
    from limiar.edge_app.report.figures import metric_title

    for file in review.files:
        sizes = [kilobytes(side.bytes) if side else "left out" for side in (file.old, file.new)]
        name = f"{file.old_name} -> {file.name}" if file.old_name else file.name
        click.echo(f"\n{name}: {' -> '.join(sizes)}")
        if file.old and file.new and file.old.decision != file.new.decision:
            click.echo(f"  decides by {file.old.decision} -> {file.new.decision}")
        if file.flips is not None:
            click.echo(f"  {100 * file.flips.value:.1f} % of {counted(file.images, 'image')} decided differently")
        for one in file.changes:
            name = printable(metric_title(one.name))
            click.echo(f"  {name:<14} {one.old:.3f} -> {one.new:.3f}  {one.outcome:<14}  {points(one)}")
    if review.differences:
        click.echo("\nOther differences")
    for difference in review.differences:
        click.echo(f"  {difference.name}: {printable(difference.old)} -> {printable(difference.new)}")


_ONE_ROUND = " (a single round shows no spread: measure with more --count)"


def _print_timings(review: "BenchReview") -> None:
    for title, timings in (("Inference alone", review.timings), ("From bytes to answer", review.wholes)):
        if timings:
            click.echo(f"\n{title}: median (lowest to highest median of a round), us")
        for one in timings:
            old, new = (
                f"{median:.4g} ({low:.4g} to {high:.4g})"
                for median, (low, high) in ((one.old_us, one.old_rounds_us), (one.new_us, one.new_rounds_us))
            )
            between = f" ({one.low:.3f} to {one.high:.3f})" if one.low is not None and one.high is not None else _ONE_ROUND
            click.echo(printable(f"{one.file} on {one.runtime}, {counted(one.threads, 'thread')}: {one.outcome}"))
            yard = one.by_yardstick
            divided = f", by the yardstick x {yard[0]:.3f} ({yard[1]:.3f} to {yard[2]:.3f})" if yard else ""
            click.echo(f"  {old} -> {new}, x {one.ratio:.3f}{between}{divided}")
