"""What is wrong with an uplink: one line in the log for each state, and the service is told, for `limiar status`."""

import time
from collections.abc import Callable

from limiar.edge_app.health.log import Level, Log

_AGAIN_S = 2.0  # a service that did not hear it is told again


class Troubles:
    """As health/log.py has states."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._now: dict[str, tuple[str, str]] = {}  # by key: code and message
        self._told: str | None = None  # the code; None: nothing yet, and the service may know that of a process before
        self._tell_at = 0.0

    def state(self, key: str, level: Level, code: str, message: str) -> None:
        """A state was seen."""
        self._log.state(key, level, code, message)
        self._now[key] = (code, message)

    def over(self, key: str, message: str) -> None:
        """It has ended, if it had begun."""
        self._log.over(key, message)
        self._now.pop(key, None)

    def tell(self, to: Callable[[str, str], bool]) -> None:
        """Tells the one that began first, if it is another than before; "" and "" if there is none."""
        found = next(iter(self._now.values()), ("", ""))
        if found[0] != self._told and time.monotonic() >= self._tell_at:
            if to(*found):
                self._told = found[0]
            else:
                self._tell_at = time.monotonic() + _AGAIN_S
