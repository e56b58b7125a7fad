"""`limiar results`."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app.commands.options import FILE
from limiar.edge_app.errors import printable
from limiar.edge_app.text import fitted

if TYPE_CHECKING:
    from limiar.edge_app.results.agreement import Agreement, Share
    from limiar.edge_app.results.lines import ResultLine
    from limiar.edge_app.store.reader import Entry, Filter, Review

_COLOURS = {"refer": "red", "refused": "yellow"}


def _confidence(ctx: click.Context, param: click.Parameter, given: str | None) -> tuple[float, float] | None:
    """LOW..HIGH, each 0 to 1; either may be left out."""
    if given is None:
        return None
    found = re.fullmatch(r"(\d*\.?\d*)\.\.(\d*\.?\d*)", given, re.ASCII)
    try:
        low, high = (float(found[1] or 0), float(found[2] or 1)) if found else (1.0, 0.0)
    except ValueError:  # a dot alone
        low, high = 1.0, 0.0
    if not 0 <= low <= high <= 1:
        raise click.BadParameter(f"{given} is not LOW..HIGH from 0 to 1, such as 0.5..0.95.", ctx, param)
    return low, high


db_option = click.option(
    "--db", type=FILE, metavar="FILE", help="Results database. Default: results.db in limiar's state folder."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
by_option = click.option("--by", required=True, metavar="NAME", help="Who says so.")
_MOST = (1 << 63) - 1  # SQLite's largest number
number = click.argument("number", metavar="ID", type=click.IntRange(1, _MOST))


def filter_options(command: Callable[..., int]) -> Callable[..., int]:
    """Which results."""
    for option in reversed(
        (
            click.option("--since", metavar="TIME", help="Of this UTC time or later: 2026-11-27, or 2026-11-27T15:00."),
            click.option("--decision", metavar="D", help="With this decision: a label, refer or refused."),
            click.option("--label", metavar="L", help="With this label, referred or not."),
            click.option("--source", metavar="NAME", help="Of this folder or camera of the service."),
            click.option("--confidence", callback=_confidence, metavar="LOW..HIGH", help="With a confidence in this range."),
            click.option("--reviewed/--not-reviewed", default=None, help="That a person has reviewed, or has not."),
            click.option("--after", type=click.IntRange(0, _MOST), default=0, metavar="ID", help="With a higher ID."),
        )
    ):
        command = option(command)
    return command


@click.group(invoke_without_command=True)
@filter_options
@click.option("--limit", type=click.IntRange(1, _MOST), metavar="N", help="The newest N. Default: 20 in a table, else all.")
@json_option
@click.option("--csv", "csv_file", type=FILE, metavar="FILE|-", help="Write a spreadsheet, to stdout with -.")
@db_option
@click.option("--fleet", type=FILE, metavar="CONFIG", help="List what a fleet has answered: the file of `limiar collect`.")
@click.option("--device", metavar="NAME", help="With --fleet: of this device.")
def results(
    limit: int | None,
    as_json: bool,
    csv_file: Path | None,
    db: Path | None,
    fleet: Path | None,
    device: str | None,
    **which: object,
) -> int:
    """List what this device has answered, in order, newest last; review it; export it.

    With --json, one JSON object a line. While `limiar run` or a scan writes to the database, this reads beside it. With
    --fleet, it lists what all devices of a fleet have answered, in the order in which that came.

    \b
    Example:
      limiar results --decision refer --not-reviewed
      limiar results show 42
      limiar results overrule 42 neg --by Ana --why "a vessel"
      limiar results --fleet collect.toml --device north-3
    """
    _check_fleet(fleet, device, db, click.get_current_context().invoked_subcommand)
    if click.get_current_context().invoked_subcommand is not None:
        return 0
    if fleet:
        from limiar.edge_app.commands.fleet_tables import print_results

        return print_results(config=fleet, which=_filter(which), device=device, limit=limit, as_json=as_json, csv_file=csv_file)
    from limiar.edge_app.results.lines import begun
    from limiar.edge_app.results.listing import csv_lines, listed, write_csv

    entries = begun(listed(_database(db), _filter(which), limit if limit or as_json or csv_file else 20))
    if csv_file == Path("-"):
        for row in csv_lines(entries):
            click.echo(row, nl=False)
    elif csv_file:
        write_csv(csv_file, entries)
    else:
        _print_json(entries) if as_json else _print_table(entries)
    return 0


@results.command(short_help="Show everything about one result.")
@number
@json_option
@db_option
def show(number: int, as_json: bool, db: Path | None) -> int:
    """Show everything about one result: the answer, what ran, and what people said.

    \b
    Example:
      limiar results show 42
    """
    from limiar.edge_app.output.lines import json_lines
    from limiar.edge_app.results.lines import result_line
    from limiar.edge_app.store.reader import Reader

    with Reader(_database(db)) as reader:
        entry, reviews = reader.entry(number), reader.reviews(number)
    line = result_line(entry)
    click.echo(json_lines([line]), nl=False) if as_json else click.echo("\n".join(_details(line, reviews)))
    return 0


@results.command(short_help="Keep that a person agrees with the model.")
@number
@by_option
@click.option("--why", default="", metavar="TEXT", help="What they saw.")
@db_option
def confirm(number: int, by: str, why: str, db: Path | None) -> int:
    """Keep that a person agrees with the model's label, also where the device referred.

    \b
    Example:
      limiar results confirm 42 --by Ana
    """
    from limiar.edge_app.results.review import review

    click.echo(f"{number}: {printable(review(_database(db), number, None, by, why))}, confirmed by {printable(by)}")
    return 0


@results.command(short_help="Keep another label beside the model's answer.")
@number
@click.argument("label")
@by_option
@click.option("--why", required=True, metavar="TEXT", help="What they saw.")
@db_option
def overrule(number: int, label: str, by: str, why: str, db: Path | None) -> int:
    """Keep another label that a person gives, beside the model's answer.

    \b
    Example:
      limiar results overrule 42 neg --by Ana --why "a vessel"
    """
    from limiar.edge_app.results.review import review

    click.echo(f"{number}: {printable(review(_database(db), number, label, by, why))}, by {printable(by)}")
    return 0


@results.command(short_help="Take back the last review of a result.")
@number
@by_option
@db_option
def undo(number: int, by: str, db: Path | None) -> int:
    """Take back the last review of a result that holds. It stays in the history, and the one before it holds again.

    \b
    Example:
      limiar results undo 42 --by Ana
    """
    from limiar.edge_app.results.review import undo as undone

    label = undone(_database(db), number, by)
    click.echo(f"{number}: {f'reviewed as {printable(label)} again' if label else 'not reviewed any more'}, by {printable(by)}")
    return 0


@results.command(short_help="Say how often people agree with the model.")
@filter_options
@json_option
@db_option
def agreement(as_json: bool, db: Path | None, **which: object) -> int:
    """Say how often people agree with the model, with 95 % intervals.

    \b
    Example:
      limiar results agreement --since 2026-11-01
    """
    import msgspec

    from limiar.edge_app.results.agreement import agreement as agreed
    from limiar.edge_app.store.reader import Reader

    with Reader(_database(db)) as reader:
        found = agreed(reader, _filter(which))
    click.echo(msgspec.json.encode(found) if as_json else "\n".join(_agreement(found)))
    return 0


@results.command(short_help="List what changed, and check that nothing was altered.")
@click.option(
    "--check", is_flag=True, help="Check the log and everything that it covers; exit with 3 if something was changed."
)
@json_option
@db_option
def audit(check: bool, as_json: bool, db: Path | None) -> int:
    """List what changed on this device: starts, installs, reviews, clock jumps; or check that nothing was altered since.

    \b
    Example:
      limiar results audit --check
    """
    import msgspec

    from limiar.edge_app import exit_status
    from limiar.edge_app.results.audited import audited, checked

    if not check:
        for row in audited(_database(db)):
            click.echo(msgspec.json.encode(row) if as_json else f"{row.id:>6}  {row.time[:19]}  {row.kind:<12} {row.text()}")
        return 0
    found = checked(_database(db))
    click.echo(msgspec.json.encode(found)) if as_json else click.echo(found.text(), err=found.code is not None)
    return exit_status.FAILED_CHECK if found.code else 0


@results.command("export-dataset", short_help="Copy what was reviewed, for `limiar train --add`.")
@click.argument("out", metavar="DIR", type=FILE)
@filter_options
@click.option("--done", default="done", show_default=True, metavar="NAME", help="Folder that answered files were moved to.")
@json_option
@db_option
def export_dataset(out: Path, done: str, as_json: bool, db: Path | None, **which: object) -> int:
    """Copy the images that people reviewed, with their labels, for `limiar train --from RUN --add DIR/reviewed.csv`.

    \b
    Example:
      limiar results export-dataset reviewed
      limiar train DATA --from RUN --add reviewed/reviewed.csv --out RUN2
    """
    import msgspec

    from limiar.edge_app import exit_status
    from limiar.edge_app.results.dataset import export_dataset as export

    found = export(_database(db), out, _filter(which), done)
    click.echo(msgspec.json.encode(found)) if as_json else click.echo(found.text(), err=True)
    return exit_status.SOME_REFUSED if found.missing else 0


def _check_fleet(fleet: Path | None, device: str | None, db: Path | None, command: str | None) -> None:
    """Raises UsageError: options that do not go together."""
    if device and not fleet:
        raise click.UsageError("--device is one of a fleet: give --fleet too.")
    if fleet and (db or command):
        raise click.UsageError(f"--fleet lists what a collector has: it goes without {'--db' if db else f'`{command}`'}.")


def _database(db: Path | None) -> Path:
    from limiar.edge_app.store.state import default_path

    return db or default_path()


def _filter(which: dict[str, object]) -> "Filter":
    import msgspec

    from limiar.edge_app.store.reader import Filter

    return msgspec.convert(which, Filter)


def _print_json(entries: "Iterator[Entry]") -> None:
    from limiar.edge_app.output.lines import json_lines
    from limiar.edge_app.results.lines import result_line

    for entry in entries:
        click.echo(json_lines([result_line(entry)]), nl=False)


def _print_table(entries: "Iterator[Entry]") -> None:
    from limiar.edge_app.results.lines import result_line

    click.echo(f"{'id':>8}  {'time (UTC)':<20} {'source':<12} {'decision':<14} {'confidence':>10}  {'reviewed':<10} path")
    for line in map(result_line, entries):
        shown = line.decision if line.code is None else line.code.removeprefix("E-IMAGE-").lower()
        decision = click.style(fitted(printable(shown), 14), fg=_COLOURS.get(line.decision, "green"))
        confidence = "" if line.confidence is None else f"{line.confidence:.1%}"
        where = printable(line.path or (f"frame {line.sequence}" if line.sequence else ""))
        source, reviewed = fitted(printable(line.source or "scan"), 12), fitted(printable(line.reviewed or ""), 10)
        click.echo(f"{line.id:>8}  {line.time[:19]:<20} {source} {decision} {confidence:>10}  {reviewed} {where}")


def _details(line: "ResultLine", reviews: "list[Review]") -> Iterator[str]:
    """One result for a person."""
    import msgspec

    skipped = ("path_base64", "review", "reviewed", "probabilities", "peaks")
    for name, value in msgspec.structs.asdict(line).items():
        if value is None or name in skipped:
            continue
        if isinstance(value, msgspec.Struct):
            told = {key: one for key, one in msgspec.structs.asdict(value).items() if one is not None}
            value = tuple(f"{key}={one}".replace(" ", "") for key, one in told.items())
        text = " ".join(value) if isinstance(value, tuple) else f"{value:.4f}" if isinstance(value, float) else str(value)
        yield f"{name:<12} {printable(text)}"
    for label, share in (line.probabilities or {}).items():
        yield f"{'':<12} {share:8.4f}  {printable(label)}"
    for number, peak in enumerate(line.peaks or (), 1):
        place = f"x {peak.x:.1f}, y {peak.y:.1f} px"
        yield f"{f'peak {number}':<12} {peak.score:8.4f}  {place}, {printable(peak.decision)}"
    for review in reviews:
        said = "confirmed" if review.label is None else f"overruled: {review.label}"
        yield (
            f"{'review':<12} {review.time}  {printable(said)}, by {printable(review.by)}"
            + (f": {printable(review.why)}" if review.why else "")
            + (f"; taken back by {printable(review.undone_by)}" if review.undone_by else "")
        )


def _agreement(found: "Agreement") -> Iterator[str]:
    yield f"{found.reviewed} of {found.answers} answers were reviewed"
    rows = {"all": found.all, "decided by the device": found.decided, "referred": found.referred}
    rows |= {f"label {label}": share for label, share in found.labels.items()}
    for name, share in rows.items():
        yield f"{printable(name):<24} {_share(share)}"
    for what, count in found.overruled.items():
        yield f"{count:>6} overruled: {printable(what)}"


def _share(share: "Share") -> str:
    if share.value is None:
        return "none reviewed"
    return f"{share.agree} of {share.n} agree: {share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"
