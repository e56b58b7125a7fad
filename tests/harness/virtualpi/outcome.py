"""What was checked on an emulated Raspberry Pi, what was found, and what it must be."""

import json
import sys
import time
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import asdict

from virtualpi import Failed

_STARTED = time.monotonic()


class Outcome(Struct, frozen=True):
    """The outcome of one check."""

    where: str  # "bookworm, cortex-a72"
    what: str
    found: str
    must: str
    passed: bool


def report(outcomes: Iterable[Outcome], as_json: bool = False) -> None:
    """Prints a table, or JSON. Raises Failed if a check failed, or nothing was checked."""
    found = list(outcomes)
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=1))
    else:
        widths = [max((len(str(getattr(one, name))) for one in found), default=0) for name in ("where", "what", "found")]
        for one in found:
            row = "  ".join(f"{text:<{width}}" for text, width in zip((one.where, one.what, one.found), widths, strict=True))
            print(f"{row}  must be {one.must}{'' if one.passed else '   FAIL'}")
    failed = [one for one in found if not one.passed]
    if failed or not found:
        met = "; ".join(f"{one.where}: {one.what}: {one.found}, must be {one.must}" for one in failed)
        raise Failed(met or "nothing was asked")
    if not as_json:
        print("PASS")


def progress(text: str) -> None:
    """Says what is being done, also in a log, so that a run that was cut short shows how far it got."""
    print(f"{time.monotonic() - _STARTED:4.0f} s  {text}", file=sys.stderr, flush=True)
