"""`limiar doctor`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from limiar.edge_app import exit_status
from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted

if TYPE_CHECKING:
    from limiar.edge_app.doctor import Diagnosis, Kept, Package
    from limiar.edge_app.system.machine import Condition


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print what was found as one JSON object.")
def doctor(as_json: bool) -> int:
    """Describe this machine, what is installed, and what is missing, with the command that installs it.

    Exit status 3 if something that limiar needs is missing or broken.

    \b
    Example:
      limiar doctor --json
    """
    import msgspec

    from limiar.edge_app.doctor import diagnose

    found = diagnose()
    click.echo(msgspec.json.encode(found) if as_json else "\n".join(_lines(found)))
    return exit_status.FAILED_CHECK if found.problems else 0


def _lines(found: "Diagnosis") -> Iterator[str]:
    """The diagnosis for a person."""
    here, now = found.machine, found.condition
    writable = "writable" if found.state.writable else "NOT writable"
    emulator = f", emulated by {found.emulator}: its times mean nothing" if found.emulator else ""
    rows = [
        ("limiar", f"{found.app.split()[1]}, {found.path}, {found.installed_mb:.0f} MiB with what it needs"),
        ("Python", f"{here.python}, {found.executable}"),
        ("machine", f"{here.board or 'no board name'}, {here.architecture}, {here.bits} bits{emulator}"),
        ("CPU", f"{here.cpu}, {here.cores} cores, {' '.join(here.features) or 'no vector units that matter here'}"),
        ("memory", f"{here.memory_mb} MiB"),
        ("system", f"{here.system}, Linux {here.kernel}"),
        ("clock", ", ".join(_conditions(now))),
        ("energy", found.energy),
        *((package.name, _described(package)) for package in (*found.runtimes, *found.packages)),
        ("SQLite", found.sqlite),
        ("cameras", ", ".join(found.cameras) or "no V4L2 camera"),
        ("state", f"{found.state.path or 'no home folder'}, {writable}, {found.state.free_mb} MiB free"),
        *(("profile", _chosen(kept)) for kept in found.profiles),
    ]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        yield f"{name:<{width}}  {text}"
    for problem in found.problems:
        yield click.style(f"problem: {problem}", fg="red")


def _conditions(now: "Condition") -> Iterator[str]:
    """What changes latency, as far as this machine says it."""
    from limiar.edge_app.system.verdict import throttle_flags

    yield f"governor {now.governor or 'unknown'}, load {now.load_1min}"
    if now.temperature_c is not None:
        yield f"{now.temperature_c:.0f} degrees Celsius"
    if now.throttled is not None:
        yield ", ".join(throttle_flags(int(now.throttled, 16))) or "not throttled since boot"


def _described(package: "Package") -> str:
    if package.version:
        return f"{package.version}, {package.path}"
    return f"{package.error}: {package.install}"


def _chosen(kept: "Kept") -> str:
    one = kept.profile
    what = f"{one.name} {one.version}: {one.file} on {one.runtime} {one.runtime_version}, {counted(one.threads, 'thread')}"
    return printable(f"{what}, {one.chosen}" + (f"; not used: {kept.unfit}" if kept.unfit else ""))
