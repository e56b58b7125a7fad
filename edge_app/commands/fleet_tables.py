"""The answers and the devices of a fleet for a person: `limiar results --fleet` and `limiar status --fleet`."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app import exit_status
from limiar.edge_app.commands.options import with_extra
from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted, fitted

if TYPE_CHECKING:
    from limiar.edge_app.collect.listing import FleetLine
    from limiar.edge_app.collect.statuses import FleetDevice
    from limiar.edge_app.health.status import Problem
    from limiar.edge_app.store.reader import Filter

_COLOURS = {"refer": "red", "refused": "yellow", "failed": "red", "silent": "yellow"}
_MB = 1_000_000
_PROBLEMS = 5  # of a device, below the table
_SHOWN = 20  # of a table, unless a limit is given


@with_extra("collect")
def print_results(
    *, config: Path, which: "Filter", device: str | None, limit: int | None, as_json: bool, csv_file: Path | None
) -> int:
    """Lists what the devices have answered. Raises LimiarError."""
    from limiar.edge_app.collect.listing import fleet_csv_lines, fleet_listed, write_fleet_csv
    from limiar.edge_app.output.lines import json_lines
    from limiar.edge_app.results.lines import begun

    lines = begun(fleet_listed(config, which, device, limit if limit or as_json or csv_file else _SHOWN))
    if csv_file == Path("-"):
        for row in fleet_csv_lines(lines):
            click.echo(row, nl=False)
    elif csv_file:
        write_fleet_csv(csv_file, lines)
    elif as_json:
        for line in lines:
            click.echo(json_lines([line]), nl=False)
    else:
        for text in _results(lines):
            click.echo(text)
    return 0


@with_extra("collect")
def print_status(*, config: Path, as_json: bool) -> int:
    """Says how the devices are. Exit status 3 if one has failed, or is silent. Raises LimiarError."""
    import msgspec

    from limiar.edge_app.collect.statuses import FleetDevices, fleet_devices
    from limiar.edge_app.text import for_json

    devices = tuple(fleet_devices(config, time.time))
    if as_json:
        click.echo(for_json(msgspec.json.encode(FleetDevices(devices=devices))))
    else:
        click.echo("\n".join(_devices(devices)))
    return exit_status.FAILED_CHECK if any(device.state in ("failed", "silent") for device in devices) else 0


def _results(lines: "Iterable[FleetLine]") -> Iterator[str]:
    start = f"{'id':>8}  {'time (UTC)':<20} {'device':<16} {'source':<12}"
    yield f"{start} {'decision':<14} {'confidence':>10}  {'reviewed':<10} path"
    for line in lines:
        shown = line.decision if line.code is None else line.code.removeprefix("E-IMAGE-").lower()
        decision = click.style(fitted(printable(shown), 14), fg=_COLOURS.get(line.decision, "green"))
        confidence = "" if line.confidence is None else f"{line.confidence:.1%}"
        where = printable(line.path or (f"frame {line.sequence}" if line.sequence else ""))
        source, reviewed = fitted(printable(line.source or "scan"), 12), fitted(printable(line.reviewed or ""), 10)
        start = f"{line.id:>8}  {fitted(printable(line.time[:19]), 20)} {fitted(line.device, 16)}"
        yield f"{start} {source} {decision} {confidence:>10}  {reviewed} {where}"


_COLUMNS = {
    "device": 20,
    "state": 7,
    "last seen": 12,
    "online": 6,
    "bundle": 24,
    "verified": 8,
    "refer": 6,
    "drift": 5,
    "disk free": 10,
    "clock": 11,
    "waiting": 7,
}


def _devices(devices: "tuple[FleetDevice, ...]") -> Iterator[str]:
    yield "  ".join(f"{name:<{columns}}" for name, columns in _COLUMNS.items()).rstrip()
    for device in devices:
        cells = [fitted(printable(cell), columns) for cell, columns in zip(_cells(device), _COLUMNS.values(), strict=True)]
        cells[1] = click.style(cells[1], fg=_COLOURS.get(device.state, "green"))
        yield "  ".join(cells).rstrip()
    counts = {state: sum(device.state == state for device in devices) for state in ("failed", "silent", "gone")}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    yield counted(len(devices), "device") + (f": {told}" if told else "")
    for device in devices:
        for problem in _failures(device) if device.state != "gone" else ():
            what = f"{problem.message} ({problem.code})" if problem.message else problem.code  # `paths = false` keeps messages
            yield click.style(printable(f"{device.name}: {what}"), fg="red")


def _failures(device: "FleetDevice") -> "list[Problem]":
    """What does not work on it, as it said last."""
    import msgspec

    from limiar.edge_app.health.status import Status

    try:
        status = msgspec.json.decode(device.status, type=Status | None)
    except msgspec.MsgspecError:  # another version of limiar kept it
        return []
    return [problem for problem in status.problems if problem.level == "failed"][:_PROBLEMS] if status else []


def _cells(device: "FleetDevice") -> Iterator[str]:
    from limiar.edge_app.health.log import duration

    yield device.name
    yield device.state
    yield f"{duration(device.age_s)} ago"
    yield "yes" if device.online else "no"
    yield (device.bundle or "") + (" (trial)" if device.on_trial else "")
    yield device.verified or ""
    yield "" if device.refer_rate is None else f"{device.refer_rate:.1%}"
    yield "" if device.drift is None else str(device.drift) if device.drift else "no"
    yield "" if device.disk_free is None else f"{device.disk_free / _MB:.0f} MB"
    yield "" if device.clock_trusted is None else "trusted" if device.clock_trusted else "NOT trusted"
    yield "" if device.waiting is None else str(device.waiting)
