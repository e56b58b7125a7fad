"""Slows down who guesses tokens."""

import threading
import time
from collections.abc import Callable

from msgspec import Struct

_FREE = 5  # wrong ones without a wait
_FIRST_S = 5.0  # then doubled
_LONGEST_S = 900.0
_FORGOTTEN_S = 3600.0  # after the last wrong one
_CLIENTS = 1000


class _Wrong(Struct):
    count: int = 0
    last_s: float = 0.0

    @property
    def until_s(self) -> float:
        """When the next one is looked at."""
        if self.count < _FREE:
            return 0.0
        return self.last_s + min(_LONGEST_S, _FIRST_S * 2.0 ** min(self.count - _FREE, 10))


class Attempts:
    """Wrong tokens of each client."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._clients: dict[str, _Wrong] = {}
        self._lock = threading.Lock()

    def tried(self, client: str, right: Callable[[], bool]) -> bool:
        """Whether it is right; False without a look while the client must wait."""
        with self._lock:
            if self._wait_s(client) > 0:
                return False
            if right():
                self._clients.pop(client, None)
                return True
            wrong = self._clients.setdefault(client, _Wrong())
            wrong.count, wrong.last_s = wrong.count + 1, self._now()
            self._forget()
            return False

    def wait_s(self, client: str) -> int:
        """Whole seconds until the client's next token is looked at; 0: at once."""
        with self._lock:
            return self._wait_s(client)

    def _wait_s(self, client: str) -> int:
        wrong = self._clients.get(client)
        return max(0, int(wrong.until_s - self._now()) + 1) if wrong and wrong.until_s > self._now() else 0

    def _forget(self) -> None:
        old = self._now() - _FORGOTTEN_S
        if len(self._clients) > _CLIENTS:
            kept = sorted(self._clients.items(), key=lambda one: one[1].last_s)[-_CLIENTS // 2 :]
            self._clients = {client: wrong for client, wrong in kept if wrong.last_s > old}
