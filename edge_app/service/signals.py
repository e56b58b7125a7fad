"""SIGTERM, SIGINT and SIGHUP as flags that the service's loop checks."""

import signal
from types import FrameType
from typing import Self


class Signals:
    """While entered, signals are only noted; children have the usual ones: see system/children.py."""

    def __init__(self) -> None:
        self.ended: int | None = None  # SIGTERM or SIGINT
        self.hung_up = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def status(self) -> int:
        """The exit status: 0 for SIGTERM, with which a system ends its services; 130 for Ctrl-C."""
        return 130 if self.ended == signal.SIGINT else 0

    def _note(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.hung_up = True
        else:
            self.ended = number
