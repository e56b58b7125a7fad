"""`limiar fleet`: roll-outs of bundles to the devices of a fleet."""

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app.commands.options import FILE, key_options, keys_of, with_extra
from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted

if TYPE_CHECKING:
    from limiar.edge_app.collect.ask_rollout import RollOutFound
    from limiar.edge_app.collect.judging import RollOut

_MOST = 1_000_000  # devices
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _shares(context: click.Context, option: click.Parameter, text: str) -> tuple[float, ...]:
    """`5,25,100` -> (5, 25, 100)."""
    try:
        shares = tuple(map(float, text.split(",")))
    except ValueError:
        shares = ()
    if not shares or shares[-1] != 100 or not all(0 < a < b for a, b in zip((0.001, *shares), shares, strict=False)):
        raise click.BadParameter(f"{text!r} is not rising percents that end with 100, such as 5,25,100.")
    return shares


def _duration(context: click.Context, option: click.Parameter, text: str) -> float:
    """`90s`, `30m`, `1h`, `2d` -> seconds."""
    if not (found := re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])", text)):
        raise click.BadParameter(f"{text!r} is not a time such as 90s, 30m, 1h or 2d.")
    return float(found[1]) * _UNITS[found[2]]


@click.group()
def fleet() -> None:
    """Give a new bundle to the devices of a fleet, one share of them after another.

    The collector that runs with the same CONFIG does it: the file goes into its folder of bundles, which a web server gives to
    devices, and each device installs it as if it had found it on a stick: signed by a key that it trusts, and newer.

    \b
    Example:
      limiar fleet roll-out collect.toml lung-nodule-3.limiar --shares 5,25,100 --soak 1h
      limiar fleet roll-outs collect.toml
      limiar fleet halt collect.toml 3
    """


@fleet.command("roll-out")
@click.argument("config", type=FILE)
@click.argument("file", type=FILE)
@click.option("--group", metavar="G", help="Only devices of this group. Default: all devices.")
@click.option("--device", metavar="D", help="Only this device.")
@click.option(
    "--shares",
    default="5,25,100",
    show_default=True,
    metavar="P,P,…",
    callback=_shares,
    help="Percents of the devices, rising to 100.",
)
@click.option(
    "--soak", default="1h", show_default=True, metavar="TIME", callback=_duration, help="For how long a share must be good."
)
@click.option(
    "--failures",
    type=click.IntRange(0, _MOST),
    default=0,
    show_default=True,
    metavar="N",
    help="Devices that may refuse it, fall back from it or fall silent with it; one more halts the roll-out.",
)
@click.option(
    "--drifting",
    type=click.IntRange(0, _MOST),
    default=0,
    show_default=True,
    metavar="N",
    help="Devices with it that may warn of drift; one more halts the roll-out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the roll-out as one JSON object.")
@key_options
@with_extra("collect")
def roll_out(
    config: Path,
    file: Path,
    group: str | None,
    device: str | None,
    shares: tuple[float, ...],
    soak: float,
    failures: int,
    drifting: int,
    as_json: bool,
    key_files: tuple[Path, ...],
    revoked_files: tuple[Path, ...],
) -> int:
    """Begin to give FILE, which `limiar pack` wrote, to devices.

    A share of them gets it, in a random order; the next share once it has been good on each of these for the soak
    time. It halts by itself if more devices than allowed refuse it, fall back from it in their trial, fall silent with it, or
    warn that what they see differs from its reference. With --key, one of these keys must have signed it.

    \b
    Example:
      limiar fleet roll-out collect.toml lung-nodule-3.limiar --key release.pub
      limiar fleet roll-out collect.toml lung-nodule-3.limiar --group ward-2 --shares 10,100 --soak 1d
    """
    from limiar.edge_app.collect.ask_rollout import Terms, begin_rollout
    from limiar.edge_app.collect.config import read_config

    if group and device:
        raise click.UsageError("Give --group or --device, not both.")
    terms = Terms(group=group, device=device, shares=shares, soak_s=soak, failures=failures, drifting=drifting)
    begun = begin_rollout(read_config(config), file, terms, keys_of(key_files, revoked_files))
    return _show(begun, as_json)


@fleet.command("roll-outs")
@click.argument("config", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print all of them, with their devices, as one JSON list.")
@with_extra("collect")
def roll_outs(config: Path, as_json: bool) -> int:
    """List the roll-outs, and how their devices are. The newest comes first.

    \b
    Example:
      limiar fleet roll-outs collect.toml
      limiar fleet roll-outs collect.toml --json | jq '.[0].devices[] | select(.state == "failed")'
    """
    import msgspec

    from limiar.edge_app.collect.ask_rollout import all_rollouts
    from limiar.edge_app.collect.config import read_config
    from limiar.edge_app.text import for_json

    found = all_rollouts(read_config(config))
    if as_json:
        click.echo(for_json(msgspec.json.encode(found)))
        return 0
    for one in found:
        click.echo("\n".join(_lines(one)))
    if not found:
        click.echo("No roll-out was ever begun.", err=True)
    return 0


def _changes(command: Callable[..., int]) -> Callable[..., int]:
    """The arguments of a command that changes a roll-out."""
    options = (
        click.argument("config", type=FILE),
        click.argument("number", type=click.IntRange(1), metavar="ID"),
        click.option("--json", "as_json", is_flag=True, help="Print the roll-out as one JSON object."),
    )
    return functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


@fleet.command()
@_changes
@with_extra("collect")
def halt(config: Path, number: int, as_json: bool) -> int:
    """Let no further device have the bundle of a roll-out. Those that have it keep it.

    \b
    Example:
      limiar fleet halt collect.toml 3
    """
    from limiar.edge_app.collect import ask_rollout
    from limiar.edge_app.collect.config import read_config

    return _show(ask_rollout.halt(read_config(config), number), as_json)


@fleet.command()
@_changes
@with_extra("collect")
def resume(config: Path, number: int, as_json: bool) -> int:
    """Go on with a roll-out that was halted.

    Devices that refused the bundle are asked again, but not those that had it and fell back. What has failed so far, and what
    drifts now, counts no more.

    \b
    Example:
      limiar fleet resume collect.toml 3
    """
    from limiar.edge_app.collect import ask_rollout
    from limiar.edge_app.collect.config import read_config

    return _show(ask_rollout.resume(read_config(config), number), as_json)


@fleet.command("roll-back")
@_changes
@with_extra("collect")
def roll_back(config: Path, number: int, as_json: bool) -> int:
    """Have its devices go back to the bundle before. A device does so if that one was good there.

    \b
    Example:
      limiar fleet roll-back collect.toml 3
    """
    from limiar.edge_app.collect import ask_rollout
    from limiar.edge_app.collect.config import read_config

    return _show(ask_rollout.roll_back(read_config(config), number), as_json)


def _show(rollout: "RollOut", as_json: bool) -> int:
    import msgspec

    from limiar.edge_app.text import for_json

    click.echo(for_json(msgspec.json.encode(rollout)) if as_json else _first_line(rollout))
    return 0


def _first_line(rollout: "RollOut") -> str:
    to = f"device {rollout.device}" if rollout.device else f"group {rollout.group}" if rollout.group else "all devices"
    what = f"{printable(rollout.name)} {printable(rollout.version)} (counter {rollout.counter}) to {printable(to)}"
    why = f": {printable(rollout.why)}" if rollout.why else ""
    text = f"{rollout.id:>4}  {rollout.state:<8} {what}, {rollout.shares[rollout.step]:g} %{why}"
    return click.style(text, fg="red") if rollout.state == "halted" else text


def _lines(found: "RollOutFound") -> Iterator[str]:
    """A roll-out for a person."""
    yield _first_line(found.rollout)
    told = ", ".join(f"{count} {state}" for state, count in sorted(found.counts.items()))
    yield f"      {counted(len(found.devices), 'device')}{f': {told}' if told else ' yet'}"
    for one in found.devices:
        if one.code or one.state in ("failed", "silent"):
            yield f"      {printable(one.device)}: {one.state}: {one.code}{': ' if one.code else ''}{printable(one.message)}"
