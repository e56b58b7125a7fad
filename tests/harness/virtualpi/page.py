"""The tables of docs/raspberry-pi.md: each level writes its own from what its run found, and nothing else writes them.

A level adds `--docs` with option(parser) and, if it is given, calls write("user", [("installed", "262 MB")]).
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from virtualpi import PROJECT, Failed
from virtualpi.outcome import Outcome

PAGE = PROJECT / "docs" / "raspberry-pi.md"
_SECTION = re.compile(r"(?<=^<!-- virtual_pi )(\S+) -->\n(.*?)(?=^<!-- end -->$)", re.MULTILINE | re.DOTALL)


def option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--docs", action="store_true", help="write this level's table in docs/raspberry-pi.md")


def write(level: str, rows: Sequence[tuple[str, str]], page: Path = PAGE) -> None:
    """Replaces the level's table. rows: what was measured, and the figure with its unit. Raises Failed."""
    text = page.read_text(encoding="utf-8")
    if level not in sections(text) or not rows:
        met = "measured nothing" if not rows else f"has no lines <!-- virtual_pi {level} --> and <!-- end --> there"
        raise Failed(f"{page.name} stays as it was: `scripts/virtual_pi {level}` {met}")
    # The machine: a time says nothing about another machine, least of all about a board.
    where = f"{datetime.now(UTC):%Y-%m-%d}, {len(os.sched_getaffinity(0))} cores, {platform.machine()}"
    lines = [(f"`scripts/virtual_pi {level}`", where), ("---", "---"), *rows]
    table = "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)
    made = _SECTION.sub(lambda found: f"{level} -->\n{table}" if found[1] == level else found[0], text)
    page.write_text(made, encoding="utf-8")


def measured(level: str) -> tuple[list[tuple[str, str]], list[Outcome]]:
    """Runs a level from nothing, and again with what that left in its cache: both times, and what was found. Raises Failed."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="limiar-virtual-pi-") as cache:
        environ = {**os.environ, "XDG_CACHE_HOME": cache, "TMPDIR": cache}  # removed with the folder, even if the run is killed
        for what in ("from nothing", "again, with its cache"):
            started = time.monotonic()
            command = [sys.executable, "-P", "-m", "virtualpi", level, "--json"]
            done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=False)
            if done.returncode:
                raise Failed(f"`scripts/virtual_pi {level}` ended with {done.returncode}: see above")
            rows.append((what, f"{time.monotonic() - started:.0f} s"))
    return rows, msgspec.json.decode(done.stdout, type=list[Outcome])


def sections(text: str) -> dict[str, str]:
    """Level -> what the page has between its two lines."""
    return {found[1]: found[2] for found in _SECTION.finditer(text)}
