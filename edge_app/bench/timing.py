"""Latency that can be trusted: interleaved calls, and percentiles only if the count supports them."""

import gc
import itertools
import math
import random
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

BEYOND = 10  # observations that must lie beyond a percentile; see percentile()
_BLOCK = 20  # calls of a variant at a time: few, to get many rounds; enough to use the caches that the first call refills
_WARM_UP = 50  # calls of each variant before anything is timed: lazy set-up, clock frequency

Key = TypeVar("Key", bound=Hashable)
Tell = Callable[[str, int, int], None]  # what, how many are done, of how many


class Latency(Struct, frozen=True):
    """Microseconds per call. None: too few calls for that percentile."""

    count: int
    p50_us: float | None
    p90_us: float | None
    p99_us: float | None
    rounds: int
    round_low_us: float  # the lowest median of a round
    round_high_us: float  # and the highest


def silent(what: str, done: int, total: int) -> None:
    """Reports no progress."""


def interleaved(
    calls: Mapping[Key, Callable[[], object]],
    count: int,
    seed: int = 0,
    progress: Tell = silent,
) -> dict[Key, Latency]:
    """Times `count` calls of each, a block at a time, in a new order every round, without garbage collection."""
    order = list(calls)
    shuffle = random.Random(seed).shuffle  # noqa: S311  # an order, not a secret
    rounds: dict[Key, list[list[int]]] = {key: [] for key in order}
    for call in calls.values():
        _block(call, _WARM_UP)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for done in range(0, count, _BLOCK):
            progress("calls of each", done, count)
            shuffle(order)
            for key in order:
                rounds[key].append(_block(calls[key], min(_BLOCK, count - done)))
    finally:
        if collecting:
            gc.enable()
    return {key: latency(taken) for key, taken in rounds.items()}


def _block(call: Callable[[], object], count: int) -> list[int]:
    """Nanoseconds of each of `count` calls, after one that brings code and weights back into the caches."""
    call()
    clock, taken = time.perf_counter_ns, []
    for _ in range(count):
        began = clock()
        call()
        taken.append(clock() - began)
    return taken


def latency(rounds: Sequence[Sequence[int]]) -> Latency:
    """Nanoseconds by round -> percentiles over all of them, and the spread between the rounds' medians."""
    taken = sorted(itertools.chain.from_iterable(rounds))
    medians = [statistics.median(block) for block in rounds]
    p50, p90, p99 = (percentile(taken, percent) for percent in (50, 90, 99))
    return Latency(len(taken), p50, p90, p99, len(rounds), min(medians) / 1000, max(medians) / 1000)


def percentile(ordered_ns: Sequence[int], percent: int) -> float | None:
    """Microseconds; None unless `BEYOND` observations lie beyond: n (1 - p) >= 10, so 1,000 for p99.

    Nearest rank: the smallest observation that at least `percent` of all do not exceed (Hyndman and Fan 1996, definition 1).
    The number beyond the true percentile is binomial with variance n p (1 - p). At 10 its 95 % range is 10 +- 6, so the
    interval of the percentile ends within the sample; below 4 it has no upper end at all (David and Nagaraja, Order
    Statistics, section 7.1).
    """
    if len(ordered_ns) * (100 - percent) < BEYOND * 100:
        return None
    return ordered_ns[math.ceil(len(ordered_ns) * percent / 100) - 1] / 1000
