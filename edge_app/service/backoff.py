"""How long to wait before something that died is started again."""

import time
from collections.abc import Callable

FIRST_S, LONGEST_S = 1.0, 60.0
_WELL_S = 60.0  # what ran for so long had no trouble in starting


class Backoff:
    """1 s, then twice as long each time, up to 60 s; from 1 s again after it ran for a minute."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._wait_s = FIRST_S
        self._due = now()
        self._started = now()
        self.restarts = 0

    @property
    def due(self) -> bool:
        """Whether it may be started now."""
        return self._now() >= self._due

    def started(self) -> None:
        """It was started."""
        self._started = self._now()

    def failed(self) -> float:
        """It died; returns how many seconds from now it may be started again."""
        if self._now() - self._started >= _WELL_S:
            self._wait_s = FIRST_S
        wait_s = self._wait_s
        self._due = self._now() + wait_s
        self._wait_s = min(2 * wait_s, LONGEST_S)
        self.restarts += 1
        return wait_s
