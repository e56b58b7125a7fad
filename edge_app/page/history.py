"""The last day of the device's health, a sample a minute. STATE/page-history.json keeps it from one start to the next."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Self

import msgspec
from msgspec import Meta, Struct

from limiar.edge_app.health.status import Status
from limiar.edge_app.system.files import read_bounded, write_whole

FILE = "page-history.json"
EVERY_S = 60.0
DAY_S = 86400.0
SAMPLES = round(DAY_S / EVERY_S)
_EARLY_S = 1.0  # a thread that waits for a minute may be a little early
_KEPT_S = 3600.0  # a card wears out with each write
_BYTES = 1 << 20  # 1,440 samples are about 200 kB

_Number = Annotated[float, Meta(ge=-1e18, le=1e18)] | None


class Sample(Struct, frozen=True, array_like=True):
    """The device at one moment. None: not known then."""

    time_s: Annotated[float, Meta(ge=0, le=1e11)]  # since 1970, by the device's clock
    answers: _Number = None  # a minute, since the sample before
    referred: _Number = None  # 0..1, of the last answers
    queue: _Number = None  # files that wait
    temperature: _Number = None  # degrees Celsius
    memory: _Number = None  # bytes of all processes of the service
    free: _Number = None  # bytes, on the disk of the state folder


_FILE = msgspec.json.Decoder(Annotated[list[Sample], Meta(max_length=SAMPLES)])


class History:
    """Gets each status that comes, from one thread; is read from others. As a context manager it is kept at the end."""

    def __init__(
        self, state: Path, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """wall, monotonic: seconds."""
        self._path, self._wall, self._monotonic = state / FILE, wall, monotonic
        self._lock = threading.Lock()
        self._samples = deque(_read(self._path), maxlen=SAMPLES)
        self._kept_s = monotonic()
        self._sampled_s = self._kept_s - EVERY_S
        self._before: tuple[float, Status] | None = None  # when, and what; of the service that runs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.keep()

    def sample(self, status: Status) -> None:
        """Keeps one a minute."""
        now = self._monotonic()
        if now - self._sampled_s < EVERY_S - _EARLY_S:
            return
        self._sampled_s = now
        with self._lock:
            self._samples.append(_sample(status, self._wall(), self._answers(status, now)))
        self._before = (now, status) if status.running else None
        if now - self._kept_s >= _KEPT_S:
            self.keep()

    def keep(self) -> None:
        """Writes it down."""
        self._kept_s = self._monotonic()
        with contextlib.suppress(OSError):  # a full disk is shown elsewhere; a day of plots is not worth an end of the page
            write_whole(self._path, msgspec.json.encode(self.last_day()))

    def last_day(self) -> list[Sample]:
        """In the order of time; a clock that was set back leaves no samples of the future."""
        now = self._wall()
        with self._lock:
            found = [one for one in self._samples if 0 <= now - one.time_s <= DAY_S]
        return sorted(found, key=lambda one: one.time_s)

    def _answers(self, status: Status, now: float) -> float | None:
        if self._before is None or not status.running or self._before[1].pid != status.pid:
            return None
        then, before = self._before
        return (status.totals.answered - before.totals.answered) * 60 / (now - then)


def _sample(status: Status, time_s: float, answers: float | None) -> Sample:
    memory = status.memory
    return Sample(
        int(time_s),  # rounded up it would be of the future
        None if answers is None else round(answers, 2),
        status.totals.refer_rate_window,
        sum(source.queue for source in status.sources) if status.running else None,
        status.board.temperature_c,
        (memory.rss_bytes if memory.pss_bytes is None else memory.pss_bytes) if memory else None,
        status.disk.free_bytes if status.disk else None,
    )


def _read(path: Path) -> list[Sample]:
    """Nothing if there is none, or if it is not what was written."""
    try:
        found: list[Sample] = _FILE.decode(read_bounded(path, _BYTES))
        return found
    except (OSError, msgspec.MsgspecError):
        return []
