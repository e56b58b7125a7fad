"""Ctrl-C and SIGTERM as a flag that a loop checks, so that it can finish and keep its work; or SIGTERM as an exit."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Self


class Interrupt:
    """While entered, the first SIGINT or SIGTERM is only noted; a second one acts as usual."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def status(self) -> int:
        """The exit status that a shell expects: 130 for Ctrl-C, 143 for SIGTERM, 0 without a signal."""
        return 128 + self.signal if self.signal else 0

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, self._before[signal.Signals(number)])


@contextlib.contextmanager
def unwound() -> Iterator[None]:
    """While entered, SIGTERM ends the program as Ctrl-C does: what it has on the disk meanwhile is removed first."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
