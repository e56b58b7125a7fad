"""What several commands are asked in the same words."""

import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from limiar.edge_app.errors import OutputError, printable

if TYPE_CHECKING:
    from limiar.edge_app.bundle.signature import Keys
    from limiar.edge_app.output.images import Output


class Finite(click.FloatRange):
    """click takes nan for a number of any range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


def key_options(command: Callable[..., int]) -> Callable[..., int]:
    """--key and --revoked, each any number of times, as `key_files` and `revoked_files`: for what opens a bundle."""
    file = click.Path(path_type=Path)
    key = click.option(
        "--key",
        "key_files",
        type=file,
        multiple=True,
        metavar="PUB",
        help="Refuse what this public key has not signed.",
    )
    revoked = click.option(
        "--revoked", "revoked_files", type=file, multiple=True, metavar="PUB", help="Refuse what this public key has signed."
    )
    return key(revoked(command))


def keys_of(key_files: tuple[Path, ...], revoked_files: tuple[Path, ...]) -> "Keys | None":
    """The public keys, read; None where no signature is asked for."""
    if not key_files:
        if revoked_files:
            raise click.UsageError("--revoked says which signatures do not count: give --key with one that does.")
        return None
    from limiar.edge_app.bundle.signature import Keys, read_public_key

    return Keys(tuple(map(read_public_key, key_files)), tuple(map(read_public_key, revoked_files)))


def outputs_of(jsonl: str | None, csv_file: Path | None, labels: tuple[str, ...], quiet: bool) -> "list[Output]":
    from limiar.edge_app.output.images import CsvFile, JsonFile, JsonStream, Table

    outputs: list[Output] = []
    if jsonl == "-" or (jsonl is None and not sys.stdout.isatty()):
        outputs.append(JsonStream())
    elif sys.stdout.isatty() and not quiet:
        outputs.append(Table())
    lines = JsonFile(path) if (path := file_of(jsonl)) else None
    try:
        sheet = CsvFile(csv_file, labels) if csv_file else None
    except OutputError:
        if lines:
            lines.discard()
        raise
    return [*outputs, *(output for output in (lines, sheet) if output)]


def file_of(jsonl: str | None) -> Path | None:
    """What --jsonl names, where that is no stream."""
    return None if jsonl in (None, "-") else Path(str(jsonl))


def check_distinct(files: dict[str, Path | None]) -> None:
    """One output would take the place of another, of the database even. Raises UsageError."""
    of: dict[str, str] = {}
    for option, path in files.items():
        if path and (other := of.setdefault(os.path.realpath(path), option)) != option:
            raise click.UsageError(f"{other} and {option} are the same file: {printable(str(path))}.")
