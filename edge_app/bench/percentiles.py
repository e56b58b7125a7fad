"""Percentiles that a sample supports, with intervals that assume no distribution: order statistics alone."""

import bisect
import functools
import math
from collections.abc import Sequence
from fractions import Fraction

from msgspec import Struct

_TAIL = 0.025  # on either side of a 95 % interval
_OVER = 0.01  # LoadGen's 1 - confidence
_MOST_CALLS = 10**8  # that needed() looks through
_REACH = 10  # standard deviations below the mean, and calls; what is beyond has a probability under 1e-11


class Percentile(Struct, frozen=True):
    """One percentile in microseconds, with its 95 % interval. None: the sample has fewer calls than it needs."""

    percent: float
    us: float | None
    low_us: float | None
    high_us: float | None
    needs: int  # calls


def percentiles(ordered_ns: Sequence[int], percents: Sequence[float] = (50, 90, 95, 99, 99.9)) -> tuple[Percentile, ...]:
    """Percentiles of ordered nanoseconds, by nearest rank.

    Nearest rank: the smallest observation that at least `percent` of all do not exceed (Hyndman & Fan, The American
    Statistician 50 (1996) 361-365, definition 1), so a latency that was met and not one in between.

    The interval reaches from one observation to another: how many of n lie below the true percentile is binomial, so the ranks
    that this count passes with a probability of 2.5 % on either side enclose it in at least 95 % of samples, whatever the
    distribution (David & Nagaraja, Order Statistics, 2003, section 7.1). It takes the calls for independent; it says nothing of
    the next run, whose machine may be in another state: ratios.between() does.
    """
    return tuple(_percentile(ordered_ns, percent) for percent in percents)


@functools.cache
def needed(percent: float) -> int:
    """The calls that a percentile needs: 64 for p90, 662 for p99, 6,636 for p99.9.

    The rule of MLPerf Inference's early stopping (LoadGen, loadgen/early_stopping.cc, MinPassingQueriesFinder with one query
    over the latency, tolerance 0 and confidence 0.99): the smallest n for which at most one of n calls above the true
    percentile would be a surprise, P(Binomial(n, 1 - p) <= 1) = p^n + n (1 - p) p^(n - 1) < 0.01. From there on the second
    highest observation lies above the percentile with a confidence of 99 %, and the 95 % interval ends within the sample.
    """
    share = percent / 100
    return bisect.bisect_right(range(_MOST_CALLS), -_OVER, key=lambda n: -(share**n + n * (1 - share) * share ** (n - 1)))


def early_stopping_us(ordered_ns: Sequence[int], percent: float) -> float | None:
    """LoadGen's estimate for a single stream: a latency that the percentile does not exceed, with a confidence of 99 %.

    The t-th highest of n observations, t being the most calls above the percentile that would still be a surprise:
    P(Binomial(n, 1 - p) <= t) < 0.01 (loadgen/results.cc, EarlyStopping). None: fewer calls than needed().
    """
    count = len(ordered_ns)
    over = _rank(count, 1 - percent / 100, _OVER) - 1
    return ordered_ns[count - over] / 1000 if over >= 1 and count >= needed(percent) else None


def _percentile(ordered_ns: Sequence[int], percent: float) -> Percentile:
    count, needs, share = len(ordered_ns), needed(percent), percent / 100
    if count < needs:
        return Percentile(percent, None, None, None, needs)
    nearest = math.ceil(count * Fraction(str(percent)) / 100)  # exact: 1000 * 99.9 / 100 is a little over 999
    low, high = _rank(count, share, _TAIL), count + 1 - _rank(count, 1 - share, _TAIL)
    us, low_us, high_us = (ordered_ns[rank - 1] / 1000 for rank in (nearest, low, high))
    return Percentile(percent, us, low_us, high_us, needs)


def _rank(count: int, share: float, tail: float) -> int:
    """The highest rank, from 1, whose observation exceeds the `share` quantile with a probability of at most `tail`; or 0.

    The observation of rank r exceeds it if fewer than r observations do not: P(Binomial(count, share) <= r - 1) <= tail.
    """
    mean, deviation = count * share, math.sqrt(count * share * (1 - share))
    below = max(0, math.floor(mean - _REACH * deviation - _REACH))
    log_mass = math.lgamma(count + 1) - math.lgamma(below + 1) - math.lgamma(count - below + 1)
    mass = math.exp(log_mass + below * math.log(share) + (count - below) * math.log1p(-share))
    total = mass
    while total <= tail and below < count:
        mass *= (count - below) / (below + 1) * share / (1 - share)
        below += 1
        total += mass
    return below
