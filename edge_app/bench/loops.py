"""Two ways to call: as fast as it goes, and when a camera would. Neither collects garbage while it measures.

Closed loop: the next call starts when the last one has ended. It says how long the work takes. A stall is one slow call, since
nothing was due meanwhile: coordinated omission (Tene, "How NOT to Measure Latency", 2013).

Open loop: calls are due at fixed times, and each is measured from when it was due. A stall makes every call wait that was due
during it, as it makes every frame of a camera wait (wrk2 and MLPerf's server scenario measure this way).
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import TypeVar

from msgspec import Struct

from limiar.edge_app.bench.steady import steady_after
from limiar.edge_app.bench.timing import Tell, silent

BLOCK = 20  # calls of a unit at a time: few, to get many rounds; enough to use the caches that the first call refills
_WARM_UP_BLOCKS = 50  # at most
_WARM_UP_FEWEST = 10  # blocks: with fewer, nothing can be said about a steady state
_WARM_UP_S = 2.0  # at most, for each unit
_BEHIND = 2.0  # times the planned duration: then the open loop gives up, since it will never catch up

Key = TypeVar("Key")
Unit = Callable[[int], list[tuple[int, ...]]]  # calls -> for each of them, the nanoseconds of each stage


class WarmUp(Struct, frozen=True):
    """What was called before anything counted."""

    calls: int
    ms: float
    steady: bool  # found to be so; otherwise the time for it was over


class Arrivals(Struct, frozen=True):
    """What the open loop measured."""

    taken: list[int]  # nanoseconds from when a call was due to its end
    late: int  # calls that were due while an earlier one was running
    planned: int  # calls; more than were made: it fell behind for good


def unit(prepare: Callable[[], Callable[[], object]]) -> Unit:
    """A call as a unit of one stage. prepare: gives the call for the next block."""

    def block(count: int) -> list[tuple[int, ...]]:
        call, clock, taken = prepare(), time.perf_counter_ns, list[tuple[int, ...]]()
        call()  # brings code and weights back into the caches
        for _ in range(count):
            began = clock()
            call()
            taken.append((clock() - began,))
        return taken

    return block


def closed_loop(
    units: Mapping[Key, Unit],
    count: int,
    random: Random,
    seconds: float | None = None,
    progress: Tell = silent,
) -> dict[Key, list[list[tuple[int, ...]]]]:
    """`count` calls of each unit, a block at a time, in a new order every round: heat and noise hit all alike.

    seconds: of each unit; when all of them together have taken as long as that allows, no further round begins.
    """
    order, rounds = list(units), {key: list[list[tuple[int, ...]]]() for key in units}
    until = None if seconds is None else time.monotonic() + seconds * len(order)
    with collected_before():
        for done in range(0, count, BLOCK):
            progress("calls of each", done, count)
            random.shuffle(order)
            for key in order:
                rounds[key].append(units[key](min(BLOCK, count - done)))
            if until is not None and time.monotonic() >= until:
                break
    return rounds


def warm_up(units: Mapping[Key, Unit]) -> dict[Key, WarmUp]:
    """Calls each unit until its first stage is steady: lazy set-up, clock frequency, the machine's own other business."""
    taken = {key: list[int]() for key in units}
    spent, found = dict.fromkeys(units, 0.0), dict[Key, WarmUp]()
    with collected_before():
        for number in range(1, _WARM_UP_BLOCKS + 1):
            for key in (key for key in units if key not in found):
                began = time.monotonic()
                taken[key] += [sum(stages) for stages in units[key](BLOCK)]
                spent[key] += time.monotonic() - began
                steady = number >= _WARM_UP_FEWEST and steady_after(taken[key], BLOCK) is not None
                if steady or number == _WARM_UP_BLOCKS or spent[key] > _WARM_UP_S:
                    found[key] = WarmUp(number * BLOCK, round(spent[key] * 1000, 3), steady)
    return found


def open_loop(
    call: Callable[[], object],
    rate_hz: float,
    count: int,
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> Arrivals:
    """Calls that are due `rate_hz` times a second, whatever happened to the ones before."""
    period_ns, taken, late = 1e9 / rate_hz, list[int](), 0
    with collected_before():
        start = clock() + round(period_ns)
        for number in range(count):
            due = start + round(number * period_ns)
            wait_ns = due - clock()
            if wait_ns > 0:
                sleep(wait_ns / 1e9)
            else:
                late += 1
            call()
            ended = clock()
            taken.append(ended - due)
            if ended - start > _BEHIND * count * period_ns:
                break
    return Arrivals(taken, late, count)


def by_stage(rounds: Sequence[Sequence[tuple[int, ...]]], stages: Sequence[str]) -> dict[str, list[list[int]]]:
    """What closed_loop gives for a unit -> for each stage, the nanoseconds by round."""
    return {name: [[call[place] for call in block] for block in rounds] for place, name in enumerate(stages)}


@contextmanager
def collected_before() -> Iterator[None]:
    """Garbage is collected before, and not in between."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
