"""What the configuration files of `limiar run` and `limiar collect` share: read, typed, faults with line and column."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, TypeVar

import msgspec

from limiar.edge_app.errors import LimiarError, OutputError, printable
from limiar.edge_app.service.place import place
from limiar.edge_app.system.files import read_bounded, write_new

LIMIT = 64 << 10  # bytes

_Config = TypeVar("_Config")


def read_text(path: Path, init: str) -> str:
    """A file's text. init: the command that writes one. Raises LimiarError E-CONFIG-READ."""
    try:
        return read_bounded(path, LIMIT, follow=True).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        met = f"{printable(str(path))}: {reason}"
        raise LimiarError("E-CONFIG-READ", f"{met}: check the path, or write one with `{init}`") from None


def typed(text: str, where: str, kind: type[_Config], give: Mapping[str, str]) -> _Config:
    """The values of a text. where: its name. give: for a key whose text has another form, what to give; "" for all others.

    Raises LimiarError E-CONFIG-SYNTAX and E-CONFIG-VALUE.
    """
    try:
        return msgspec.convert(tomllib.loads(text), kind)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise LimiarError("E-CONFIG-SYNTAX", f"{where}: {error}: correct it, as TOML") from None
    except msgspec.ValidationError as error:
        met, _, at = str(error).partition(" - at `$")
        key = at.strip("`").lstrip(".")
        if "unknown field" in met:
            key = ".".join(filter(None, (key, met.split("`")[1])))
        if "matching regex" in met:
            met = f"give {give.get(key.rpartition('.')[2].partition('[')[0], give[''])}"
        refuse(text, where, key, met[:1].lower() + met[1:])


def refuse(text: str, where: str, key: str, met: str) -> NoReturn:
    """Raises LimiarError E-CONFIG-VALUE, with the line and column of a key."""
    line, column = place(text, key)
    raise LimiarError("E-CONFIG-VALUE", f"{where}, line {line}, column {column}: {f'{key}: ' if key else ''}{met}")


def write_template(path: Path, template: Path, mode: int) -> None:
    """Writes a new file with every key explained. Raises OutputError; an existing file is never replaced."""
    where = printable(str(path))
    try:
        write_new(path, template.read_bytes(), mode)
    except FileExistsError:
        raise OutputError("E-OUTPUT-EXISTS", f"{where} exists: edit it, or give another name") from None
    except OSError as error:
        raise OutputError("E-OUTPUT-WRITE", f"{where}: {error.strerror}: give a file in a folder that can be written") from None
