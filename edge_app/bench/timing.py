"""Latency of calls that take turns: percentiles that the count supports, and the spread between rounds and processes."""

import itertools
import statistics
from collections.abc import Callable, Sequence

from msgspec import Struct

from limiar.edge_app.bench.percentiles import Percentile, early_stopping_us, percentiles
from limiar.edge_app.bench.samples import Samples, pack

BEYOND = 1  # calls that lie beyond a percentile which is given, with a confidence of 99 %: percentiles.needed()

Rounds = Sequence[Sequence[int]]  # nanoseconds of each call, by round
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
    p95_us: float | None = None
    p999_us: float | None = None  # 99.9
    percentiles: tuple[Percentile, ...] = ()  # the same with their intervals, and the calls that each needs
    process_p50_us: tuple[float, ...] = ()  # the median of each process
    early_stopping_p90_us: float | None = None  # LoadGen's upper bound of p90: `--preset mlperf`
    samples: Samples | None = None  # every call, by process and round


def silent(what: str, done: int, total: int) -> None:
    """Reports no progress."""


def latency(processes: Sequence[Rounds], keep: bool = False, early_stopping: bool = False) -> Latency:
    """Nanoseconds by process and round -> percentiles over all of them, and the spread between rounds and processes.

    keep: with every sample. early_stopping: with LoadGen's bound of p90.
    """
    taken = sorted(itertools.chain.from_iterable(itertools.chain.from_iterable(processes)))
    medians = [statistics.median(block) / 1000 for rounds in processes for block in rounds]
    found = percentiles(taken)
    p50, p90, p95, p99, p999 = (one.us for one in found)
    return Latency(
        count=len(taken),
        p50_us=p50,
        p90_us=p90,
        p99_us=p99,
        rounds=len(medians),
        round_low_us=min(medians),
        round_high_us=max(medians),
        p95_us=p95,
        p999_us=p999,
        percentiles=found,
        process_p50_us=tuple(statistics.median(itertools.chain.from_iterable(rounds)) / 1000 for rounds in processes),
        early_stopping_p90_us=early_stopping_us(taken, 90) if early_stopping else None,
        samples=pack(processes) if keep else None,
    )
