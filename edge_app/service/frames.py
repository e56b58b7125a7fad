"""Retention of the frames that cameras keep: STATE/frames/CAMERA/DATE-SEQUENCE.png."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

# Written by camera/deciding.py and camera/keep.py; anything else in these folders is somebody's, and stays.
_FRAME = re.compile(r"[0-9]{8}T[0-9]{9}Z-[0-9]{6,}(?:-[0-9]{1,2})?\.(?:png|jpg)")
_PARTIAL = re.compile(rf"\.{_FRAME.pattern}\.[0-9]+\.partial")  # left by a killed process
_DAY_S = 86_400.0


class FrameLimits(Struct, frozen=True):
    """How many frames are kept, of all cameras together; 0: without a limit."""

    days: float = 0
    count: int = 0
    size: int = 0  # bytes


class Pruned(Struct, frozen=True):
    """What was removed."""

    files: int = 0
    size: int = 0  # bytes


class _Frame(Struct, frozen=True):
    path: Path
    written_s: float  # since 1970, by the device's clock
    size: int


def prune(folder: Path, limits: FrameLimits, now_s: float | None) -> Pruned:
    """Removes the oldest frames of all cameras until the rest is within the limits; and nothing else.

    now_s: since 1970; None if the clock is not trusted: then no frame is removed for its age.
    A frame that no row names, because a crash came between the two, is removed with the others of its age. Frames that cannot
    be read or removed stay.
    """
    # By their time on the disk, and if the clock stood still, by their number.
    left = sorted(_frames(folder), key=lambda frame: (frame.written_s, frame.path.name), reverse=True)
    size, removed = 0, []
    for count, frame in enumerate(left, 1):
        size += frame.size
        old = limits.days and now_s is not None and now_s - frame.written_s > limits.days * _DAY_S
        if old or (limits.count and count > limits.count) or (limits.size and size > limits.size):
            with contextlib.suppress(OSError):
                frame.path.unlink()
                removed.append(frame.size)
    return Pruned(len(removed), sum(removed))


def _frames(folder: Path) -> Iterator[_Frame]:
    for camera in _entries(folder):
        if not camera.is_dir(follow_symlinks=False):
            continue
        for entry in _entries(Path(camera.path)):
            if _FRAME.fullmatch(entry.name) or _PARTIAL.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(found.st_mode):
                        yield _Frame(Path(entry.path), found.st_mtime, found.st_size)


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # there is none yet
        return []
