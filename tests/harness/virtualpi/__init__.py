"""An emulated Raspberry Pi: Debian roots, QEMU, and what limiar must do in them. `scripts/virtual_pi` is its command."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]


class Unavailable(Exception):
    """This machine cannot run the test: str() says why, and what to do."""


class Failed(Exception):
    """The test ran, and the result is wrong: str() says what was found."""
