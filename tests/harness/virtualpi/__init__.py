"""A Raspberry Pi without one: Debian roots, QEMU, and what is asked of limiar in them. `scripts/virtual_pi` is its command."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]


class Unavailable(Exception):
    """This machine cannot do it: str() says why, and what to do."""


class Failed(Exception):
    """It could be asked, and the answer was not what it must be: str() says what was met."""
