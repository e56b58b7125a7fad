"""How the device is, for all requests: a thread asks the service, so that no request waits for one that hangs."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from limiar.edge_app.errors import LimiarError
from limiar.edge_app.health.status import Problem, Status
from limiar.edge_app.service.status import at_rest, read_status

FRESH_S = 1.0
_WATCHED_S = 10.0  # after the last request, as often as FRESH_S
_IDLE_S = 60.0
_FIRST_S = 3.0  # a request waits at most so long for the first status, and for the first after a time without requests


class Known(Struct, frozen=True):
    """The last status."""

    status: Status
    monotonic_s: float  # when it was asked for
    silent_since_s: float | None = None  # on that clock; None: the service answers, or none runs

    @property
    def silent_s(self) -> float | None:
        """For how long a service that runs has not answered."""
        return None if self.silent_since_s is None else time.monotonic() - self.silent_since_s


class Statuses:
    """Use as a context manager: leaving ends the thread."""

    def __init__(self, state: Path, sampled: Callable[[Status], None] = lambda _: None) -> None:
        """sampled: gets each status that comes, in the thread."""
        self._state, self._sampled = state, sampled
        self._known: Known | None = None
        self._wanted_at = -_WATCHED_S
        self._wake, self._first = threading.Event(), threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def __enter__(self) -> "Statuses":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._wake.set()
        self._thread.join(1.0)

    def now(self) -> Known:
        """At most a second old while the service answers; a request after a time without any waits for it."""
        idle = time.monotonic() - self._wanted_at > _WATCHED_S
        self._wanted_at = time.monotonic()
        if idle:  # what is known may be a minute old
            self._first.clear()
            self._wake.set()
        self._first.wait(_FIRST_S)
        return self._known or Known(at_rest(self._state), time.monotonic())

    def ask(self) -> None:
        """Asks at once: something was changed."""
        self._wake.set()

    def _run(self) -> None:
        while not self._ended:
            started = time.monotonic()
            self._known = self._ask(started)
            self._sampled(self._known.status)
            self._first.set()
            watched = time.monotonic() - self._wanted_at < _WATCHED_S
            self._wake.wait(max(0.0, (FRESH_S if watched else _IDLE_S) - (time.monotonic() - started)))
            self._wake.clear()

    def _ask(self, started: float) -> Known:
        try:
            return Known(read_status(self._state), started)
        except LimiarError as error:
            status = at_rest(self._state)
            problem = Problem("failed", error.code, error.message)
            others = tuple(one for one in status.problems if one.code != "E-SERVICE-NONE")
            status = msgspec.structs.replace(status, problems=(problem, *others))
            since = self._known.silent_since_s if self._known else None
            return Known(status, started, started if since is None else since)
