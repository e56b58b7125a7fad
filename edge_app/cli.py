"""The `limiar` command. Only what a command needs is imported, and only when it runs: `limiar --help` loads no numpy."""

import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from limiar.edge_app import __version__, exit_status
from limiar.edge_app.errors import LimiarError, ModelUnfit, OutputClosed
from limiar.edge_app.system.clock import take_any_year
from limiar.edge_app.system.limits import limit_met
from limiar.edge_app.system.streams import open_streams
from limiar.edge_app.text import without_passwords

# Each has its file in commands/.
DEVICE = (
    "scan",
    "series",
    "camera",
    "watch",
    "run",
    "results",
    "status",
    "page",
    "install",
    "rollback",
    "pack",
    "phone",
    "explain",
    "verify",
    "bench",
    "doctor",
)
# These too: for many devices, or millions of images.
MANY = ("collect", "fleet", "archive")
# In the order of --help, in which people need them.
GROUPS = {
    "On the desktop": (
        *("phantoms", "check", "train", "sweep", "convert", "inspect", "evaluate", "compare", "keygen", "export-dicom"),
    ),
    "On a device": DEVICE,
    "Many devices, millions of images": MANY,
}
_SUMMARY = 300  # characters: enough for all of a command's first sentence, over several lines


class Commands(click.Group):
    """The device's commands, and those of train and convert, found by the entry points `limiar.commands`."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = {name: command for name in self.list_commands(ctx) if (command := self.get_command(ctx, name))}
        listed = {name for names in GROUPS.values() for name in names}
        others = tuple(name for name in commands if name not in listed)
        for title, names in (*GROUPS.items(), ("Others", others)):
            rows = [(name, commands[name].get_short_help_str(_SUMMARY)) for name in names if name in commands]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*DEVICE, *MANY, *(entry.name for entry in _entry_points())})

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if any(word == "" or re.fullmatch(r"--[a-z-]+=", word) for word in args):
            raise click.UsageError("An argument is empty: is a shell variable not set?")
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches  # 5 ms, only after a mistake

            near = get_close_matches(args[0], self.list_commands(ctx), n=1)
            raise click.UsageError(f"{error.message} Did you mean {near[0]}?", ctx) if near else error from None

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in DEVICE + MANY:
            command = getattr(import_module(f"limiar.edge_app.commands.{cmd_name}"), cmd_name)
            assert isinstance(command, click.Command)
            return command
        # Reading entry points takes 40 ms in a desktop environment: only for --help and for names that are not among DEVICE.
        for entry in _entry_points():
            if entry.name == cmd_name:
                command = entry.load()
                assert isinstance(command, click.Command)
                assert command.callback
                extra = entry.extras[0] if entry.extras else entry.module.split(".")[1]
                command.callback = _with_cure(command.callback, cmd_name, extra)
                return command
        return None


def _with_cure(callback: Callable[..., Any], name: str, extra: str) -> Callable[..., Any]:
    """Makes a desktop command say how to install its packages if they are missing."""

    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return callback(*arguments, **options)
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] == "limiar":
                raise
            met = f"limiar {name} needs {error.name}, which is not installed"
            raise LimiarError("E-INSTALL-MISSING", f"{met}: pip install 'limiar[{extra}]'") from None

    return run


def _entry_points() -> list[Any]:
    from importlib.metadata import entry_points

    return [entry for entry in entry_points(group="limiar.commands") if entry.module.startswith("limiar.")]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="limiar")
def limiar() -> None:
    """From a Keras image classifier to proven answers on a device.

    \b
    Example:
      limiar scan models/lung-nodule images/ --jsonl results.jsonl
    """


def main() -> None:
    """Runs the command line and exits: 0 done, 1 refused or failed, 2 usage, 3 a check did not pass, 4 some inputs refused."""
    open_streams()
    stdout = sys.stdout
    take_any_year()
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see limiar/__main__.py
            signal.signal(signal.SIGINT, signal.default_int_handler)
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"  # no-color.org
        status = limiar.main(prog_name="limiar", standalone_mode=False, color=False if plain else None)
        sys.stdout.flush()
    except click.ClickException as error:
        error.message = without_passwords(error.message)  # type: ignore[misc]  # it quotes what was given
        error.show()
        status = error.exit_code
    except LimiarError as error:
        click.echo(str(error), err=True)
        status = exit_status.FAILED_CHECK if isinstance(error, ModelUnfit) else exit_status.ERROR
    except (click.Abort, KeyboardInterrupt):
        status = exit_status.INTERRUPTED
    except OutputClosed:
        status = exit_status.CLOSED_PIPE
    except SystemExit:  # from click, which has replaced a stdout whose reader is gone
        if sys.stdout is stdout:
            raise
        status = exit_status.CLOSED_PIPE
    except (OSError, MemoryError, ImportError, RuntimeError) as error:
        if not (limit := limit_met(error)):
            raise
        click.echo(str(limit), err=True)
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python tries once more when it ends
        status = exit_status.ERROR
    sys.exit(status if isinstance(status, int) else 0)
