"""The topics of a fleet. Who sent a message is what its topic says, which the broker has checked, and never what it holds."""

import re
from typing import Literal

ROOT = "limiar"
NAME = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII
)  # of a device: it has no /, + or #, which mean something in topics

Up = Literal["rows", "status", "online"]
Down = Literal["acked", "desired"]
UP: tuple[Up, ...] = ("rows", "status", "online")


def up(name: str, what: Up, root: str = ROOT) -> str:
    """The topic on which a device sends."""
    return f"{root}/{name}/up/{what}"


def down(name: str, what: Down, root: str = ROOT) -> str:
    """The topic on which a device is told."""
    return f"{root}/{name}/down/{what}"


def sender(topic: str, root: str = ROOT) -> tuple[str, Up] | None:
    """Which device sent it, and what; None if it is no such topic."""
    start, end = f"{root}/", topic.rpartition("/up/")
    name, what = end[0].removeprefix(start), end[2]
    if not topic.startswith(start) or not NAME.fullmatch(name):
        return None
    return next(((name, one) for one in UP if one == what), None)
