"""An emulated Raspberry Pi: Debian roots, QEMU, and what limiar must do in them. `scripts/virtual_pi` is its command."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]


class Unavailable(Exception):
    """This machine cannot run it: str() says why, and what to do."""


class Failed(Exception):
    """It ran, and the result was not what it must be: str() says what was found."""
