"""What the service counts, and the status that it makes of it.

    meters = Meters(app_sha256, sources, sensors)
    meters.answered("inbox", "refer", infer_ms=2.1, entry=7)
    meters.snapshot()

Everything is called by the one process that keeps the store; a call costs microseconds and touches no file.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from limiar.edge_app.bundle.manifest import REFER
from limiar.edge_app.health.sensors import Sensors
from limiar.edge_app.health.status import (
    BundleStatus,
    DriftStatus,
    Problem,
    ProcessState,
    ProcessStatus,
    SourceState,
    SourceStatus,
    Status,
    Totals,
    problems,
)

_WINDOW = 500  # answers of the recent refer rate
_RATE_S = 60  # of the recent rate of answers; it is counted in whole seconds
_CODES = 256  # different codes and decisions that are counted


class _Source(Struct):
    kind: Literal["folder", "camera"]
    state: SourceState = "waiting"
    since: float = 0.0
    code: str = ""
    message: str = ""
    answered: int = 0
    refused: int = 0
    queue: int = 0
    passed_over: str = ""
    last_entry: int | None = None
    last: float | None = None


class _Process(Struct):
    pid: int | None
    state: ProcessState
    since: float
    restarts: int


class Meters:
    """Counts what the service does."""

    def __init__(
        self,
        sources: dict[str, Literal["folder", "camera"]],
        sensors: Sensors,
        now: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        """sources: name -> kind. now: seconds that never jump."""
        self._now = now
        self._sensors = sensors
        self._sources = {name: _Source(kind, since=now()) for name, kind in sources.items()}
        self._processes: dict[str, _Process] = {}
        self._bundle: BundleStatus | None = None
        self._trouble: Problem | None = None
        self._drift: dict[str, tuple[float, str]] = {}  # statistic -> since when, message
        self._answered = 0
        self._infer_s = 0.0
        self._refused = Counter[str]()
        self._decisions = Counter[str]()
        self._not_assessable = 0
        self._recent: deque[bool] = deque(maxlen=_WINDOW)  # whether each was referred
        self._rate: deque[tuple[int, int]] = deque(maxlen=_RATE_S + 1)  # second, answers in it

    def answered(self, source: str, decision: str, infer_ms: float, entry: int | None = None) -> None:
        """An answer was kept. decision: a label, or "refer". entry: its ID in the store."""
        one, now = self._sources[source], self._now()
        one.answered += 1
        one.last_entry, one.last = entry, now
        self._answered += 1
        self._infer_s += infer_ms / 1000
        _count(self._decisions, decision)
        self._recent.append(decision == REFER)
        second = int(now)
        so_far = self._rate.pop()[1] if self._rate and self._rate[-1][0] == second else 0
        self._rate.append((second, so_far + 1))

    def refused(self, source: str, code: str) -> None:
        """A file or frame has no answer."""
        self._sources[source].refused += 1
        _count(self._refused, code)

    def not_assessable(self) -> None:
        """An image that was answered, or refused, is outside the bundle's envelope and has no label. Besides those calls."""
        self._not_assessable += 1

    def source_state(self, name: str, state: SourceState, code: str = "", message: str = "") -> None:
        """How a source is; a call that changes nothing costs nothing, so it may be made in every turn."""
        one = self._sources[name]
        if one.state != state:
            one.since = self._now()
        one.state, one.code, one.message = state, code, message

    def queue(self, count: int, source: str) -> None:
        """So many complete files of a source wait."""
        self._sources[source].queue = count

    def passed_over(self, source: str, text: str) -> None:
        """What a folder holds besides images, in words."""
        self._sources[source].passed_over = text

    def process(self, name: str, state: ProcessState, pid: int | None = None, restarts: int = 0) -> None:
        """How a process of the service is."""
        before = self._processes.get(name)
        same = before is not None and (before.state, before.pid) == (state, pid)
        since = before.since if before and same else self._now()
        self._processes[name] = _Process(pid, state, since, restarts)

    def bundle(self, bundle: BundleStatus) -> None:
        """Which bundle answers."""
        self._bundle = bundle

    def trouble(self, code: str = "", message: str = "") -> None:
        """Why the service cannot answer at all; without a code, it can."""
        self._trouble = Problem("failed", code, message) if code else None

    def drift(self, lasting: Mapping[str, str]) -> None:
        """In which statistics what comes differs from the bundle's reference, with a message for each; empty: in none."""
        now = self._now()
        self._drift = {what: (self._drift[what][0] if what in self._drift else now, met) for what, met in lasting.items()}

    def snapshot(self) -> Status:
        """Everything, now."""
        now = self._now()
        status = self._sensors.status(self._answered)
        status = replace(
            status,
            bundle=self._bundle,
            sources=tuple(_source(name, one, now) for name, one in self._sources.items()),
            totals=self._totals(now),
            drift=tuple(
                DriftStatus(statistic=what, message=met, age_s=_s(now - at)) for what, (at, met) in self._drift.items()
            ),
            processes=tuple(
                ProcessStatus(name=name, pid=one.pid, state=one.state, since_s=_s(now - one.since), restarts=one.restarts)
                for name, one in self._processes.items()
            ),
        )
        trouble = (self._trouble,) if self._trouble else ()
        return replace(status, problems=(*trouble, *problems(status)))

    def _totals(self, now: float) -> Totals:
        recent = sum(count for second, count in self._rate if second > now - _RATE_S)
        return Totals(
            answered=self._answered,
            per_s=round(recent / _RATE_S, 3),
            infer_s=round(self._infer_s, 3),
            refused=dict(self._refused),
            decisions=dict(self._decisions),
            not_assessable=self._not_assessable,
            refer_rate=_share(self._decisions[REFER], self._answered),
            refer_rate_window=_share(sum(self._recent), len(self._recent)),
            window=len(self._recent),
        )


def _source(name: str, one: _Source, now: float) -> SourceStatus:
    return SourceStatus(
        name=name,
        kind=one.kind,
        state=one.state,
        since_s=_s(now - one.since),
        code=one.code,
        message=one.message,
        answered=one.answered,
        refused=one.refused,
        queue=one.queue,
        passed_over=one.passed_over,
        last_entry=one.last_entry,
        last_age_s=None if one.last is None else _s(now - one.last),
    )


def _count(counts: Counter[str], what: str) -> None:
    """Bounded, since each key becomes a series of metrics."""
    counts[what if what in counts or len(counts) < _CODES else "others"] += 1


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _s(seconds: float) -> float:
    return round(seconds, 1)
