"""`limiar status`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app import exit_status
from limiar.edge_app.commands.options import FILE
from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted

if TYPE_CHECKING:
    from limiar.edge_app.health.status import BoardStatus, BundleStatus, SourceStatus, Status, Totals

_MB = 1e6


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@click.option("--prometheus", is_flag=True, help="Print it as metrics for Prometheus.")
@click.option("--state", type=FILE, help="State folder of the service.  [default: as `limiar run` chooses it]")
@click.option("--fleet", type=FILE, metavar="CONFIG", help="Say how all devices of a fleet are: the file of `limiar collect`.")
def status(as_json: bool, prometheus: bool, state: Path | None, fleet: Path | None) -> int:
    """Say how this device is: what does not work first, then bundle, sources, results, disk, board and clock.

    Exit status 3 if no service runs, or something has failed; warnings alone leave it 0. With --fleet, 3 if a device has
    failed or is silent.

    \b
    Example:
      limiar status
      limiar status --json
      limiar status --fleet collect.toml
    """
    if as_json and prometheus:
        raise click.UsageError("Give --json or --prometheus, not both.")
    if fleet:
        if prometheus or state:
            raise click.UsageError("Give --fleet with --json at most.")
        from limiar.edge_app.commands.fleet_tables import print_status

        return print_status(config=fleet, as_json=as_json)
    import msgspec

    from limiar.edge_app.health.prometheus import prometheus_text
    from limiar.edge_app.health.status import failed
    from limiar.edge_app.service.status import read_status
    from limiar.edge_app.store.state import state_folder
    from limiar.edge_app.text import for_json

    found = read_status(state or state_folder())
    if prometheus:
        click.echo(prometheus_text(found), nl=False)
    else:
        click.echo(for_json(msgspec.json.encode(found)) if as_json else "\n".join(_lines(found)))
    return exit_status.FAILED_CHECK if failed(found) else 0


def _lines(found: "Status") -> Iterator[str]:
    """The status for a person."""
    for problem in found.problems:
        colour = "red" if problem.level == "failed" else "yellow"
        yield click.style(f"{problem.level.upper()}: {printable(problem.message)} ({problem.code})", fg=colour)
    rows = list(_rows(found))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        yield f"{name:<{width}}  {printable(text)}"


def _rows(found: "Status") -> Iterator[tuple[str, str]]:
    from limiar.edge_app.health.log import duration

    if found.running:
        yield "service", f"runs for {duration(found.uptime_s or 0)}, {found.app}, process {found.pid}"
    if found.bundle:
        yield "bundle", _bundle(found.bundle)
    for source in found.sources:
        yield printable(source.name), _source(source)
    if found.running:
        yield "answers", _answers(found.totals)
    if found.totals.refused:
        yield "refused", ", ".join(f"{count} {code}" for code, count in sorted(found.totals.refused.items()))
    for process in found.processes:
        yield (
            printable(process.name),
            f"{process.state} for {duration(process.since_s)}, {counted(process.restarts, 'restart')}",
        )
    if store := found.store:
        entries = "entries unknown" if store.entries is None else counted(store.entries, "entry", "entries")
        yield "results", f"{store.path}, {entries}, {store.bytes / _MB:.1f} MB, log {store.wal_bytes / _MB:.1f} MB"
    if fleet := found.fleet:
        waiting = f"{counted(fleet.waiting, 'row')} waiting" if fleet.waiting else "nothing waits"
        yield "fleet", f"{waiting}, {fleet.acked} committed by the collector"
    if disk := found.disk:
        written = found.written and found.written.per_1000_answers
        per = f"; {written / _MB:.2f} MB written per 1,000 answers" if written else ""
        yield "disk", f"{disk.free_bytes / _MB:.0f} of {disk.total_bytes / _MB:.0f} MB free{per}"
    if memory := found.memory:
        processes = f"{counted(memory.processes, 'process', 'processes')}, {counted(memory.threads, 'thread')}"
        used = memory.rss_bytes if memory.pss_bytes is None else memory.pss_bytes
        yield "memory", f"{used / _MB:.0f} MB, {processes}, {counted(memory.descriptors, 'open file')}"
    yield "board", _board(found.board)
    trusted = "trusted" if found.clock.trusted else "NOT trusted"
    yield "clock", f"{trusted}: {found.clock.why}; {counted(found.clock.jumps, 'jump')}"


def _bundle(bundle: "BundleStatus") -> str:
    runs = f", {bundle.file} on {bundle.runtime}, verified by {bundle.verified}" if bundle.file else ""
    slot = f"; slot {bundle.slot}, {'on trial' if bundle.on_trial else 'good'}" if bundle.slot else ""
    other = f", before it {bundle.other.name} {bundle.other.version}" if bundle.other else ""
    return f"{bundle.name} {bundle.version}{runs}{slot}{other}"


def _source(source: "SourceStatus") -> str:
    from limiar.edge_app.health.log import duration

    last = f"; last answer {duration(source.last_age_s)} ago" if source.last_age_s is not None else ""
    counts = f"{counted(source.answered, 'answer')}, {source.refused} refused, {source.queue} waiting"
    passed = f"; passed over: {source.passed_over}" if source.passed_over else ""
    return f"{source.kind} {source.state} for {duration(source.since_s)}, {counts}{last}{passed}"


def _answers(totals: "Totals") -> str:
    each = ", ".join(f"{count} {decision}" for decision, count in sorted(totals.decisions.items()))
    recent = (
        f", {totals.refer_rate_window:.1%} of the last {totals.window} referred" if totals.refer_rate_window is not None else ""
    )
    return f"{totals.answered}{f': {each}' if each else ''}{recent}; {totals.per_s:.2g} a second"


def _board(board: "BoardStatus") -> str:
    known = [] if board.temperature_c is None else [f"{board.temperature_c:.0f} degrees Celsius"]
    known += [] if board.clock_mhz is None else [f"{board.clock_mhz:.0f} MHz"]
    known += [f"{word} now" for word in board.throttled or ()]
    known += [f"{word} since boot" for word in board.throttled_since_boot or ()]
    return ", ".join(known) or "says nothing about itself"
