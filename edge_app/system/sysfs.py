"""Reads the small files of /proc and /sys, which may be missing, garbled or endless: such a file says nothing."""

import os
import re
from pathlib import Path

_MOST = 1 << 16  # bytes; the files that are read here have a line or a few
_NUMBER = re.compile("-?[0-9a-fA-F]{1,19}")  # of 64 bits


def text(path: Path | str, limit: int = _MOST) -> str | None:
    """The start of a file, at most `limit` bytes, without blanks around it; None if there is none or it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would block
    except (OSError, ValueError):
        return None
    try:
        read = b""
        while len(read) < limit and (more := os.read(descriptor, limit - len(read))):
            read += more
    except OSError:  # a sensor that is asleep, a CPU that was switched off
        return None
    finally:
        os.close(descriptor)
    return read.decode("utf-8", "replace").strip("\0 \t\r\n")


def number(path: Path | str, base: int = 10) -> int | None:
    """The whole number in a file; None if there is none."""
    return whole(text(path, 64), base)


def whole(word: str | None, base: int = 10) -> int | None:
    """The whole number that a word says; None if it says none."""
    try:
        return int(word, base) if word and _NUMBER.fullmatch(word) else None
    except ValueError:
        return None


def matching(folder: Path, pattern: str, most: int = 64) -> list[Path]:
    """The paths in a folder that match, in order of length and name (cpu2 before cpu10), at most so many."""
    try:
        return sorted(folder.glob(pattern), key=lambda path: (len(str(path)), str(path)))[:most]
    except OSError:
        return []
