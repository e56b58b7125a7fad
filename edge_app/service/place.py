"""Where a key is in a TOML file: parsers keep no places, and a message must name line and column."""

import re
import tomllib
from typing import Any


def place(text: str, key: str) -> tuple[int, int]:
    """Line and column, from 1, of a key such as `camera[1].agree`; of its table if the key is not there.

    It is on the first line after which the file, cut there, has the key; a value of several lines begins after the line before
    it at which the file could be cut.
    """
    parts = [part for part in re.split(r"[.\[\]]+", key) if part]
    lines = text.splitlines()
    while parts:
        if found := _first(lines, parts):
            return found
        parts.pop()
    return 1, 1


def _first(lines: list[str], parts: list[str]) -> tuple[int, int] | None:
    begun = 0  # the line after the last one at which the file could be cut
    for k in range(len(lines)):
        try:
            table = tomllib.loads("\n".join(lines[: k + 1]))
        except tomllib.TOMLDecodeError:
            continue
        if _has(table, parts):
            while not lines[begun].strip() or lines[begun].lstrip().startswith("#"):
                begun += 1
            name = next((part for part in reversed(parts) if not part.isdecimal()), "")
            return begun + 1, max(0, lines[begun].find(name)) + 1
        begun = k + 1
    return None


def _has(table: Any, parts: list[str]) -> bool:
    for part in parts:
        try:
            table = table[int(part)] if isinstance(table, list) else table[part]
        except (LookupError, TypeError, ValueError):
            return False
    return True
