"""How much slower or faster one thing is than another, with an interval that covers."""

import math
import statistics
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

_RESAMPLES = 1000  # the standard error then varies by 2 % from seed to seed
_FEWEST, _APART, _TIMES = 5, 0.03, 10  # of alike()
# Student's t, 97.5 %, for 1, 2, … degrees of freedom; for more than 30 the last is taken, which is slightly too wide.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


class Ratio(Struct, frozen=True):
    """New / old: 1.1 is 10 % slower. low, high: its 95 % interval."""

    ratio: float
    low: float
    high: float


def within(old_rounds: Sequence[Sequence[int]], new_rounds: Sequence[Sequence[int]], rng: np.random.Generator) -> Ratio | None:
    """Two variants that took turns in the same run: all rounds of all processes, nanoseconds. None: under two rounds.

    The ratio is the median, over rounds, of the ratio of the two medians of a round: what slows a round down slows both, and
    cancels. Its standard error is a bootstrap's that draws blocks of neighbouring rounds, since what slows a round often
    slows the next (moving blocks: Künsch, Annals of Statistics 17 (1989) 1217-1241); the interval is Student's t with as many
    degrees of freedom as there are blocks, less one. The bootstrap's own percentiles would cover 77 to 92 % where they say 95,
    of 10 to 50 rounds whose noise is correlated by 0.3 from round to round. Raises ValueError: not as many rounds in both.
    """
    if len(old_rounds) != len(new_rounds):
        raise ValueError(f"rounds are compared in pairs: {len(old_rounds)} and {len(new_rounds)}")
    if len(old_rounds) < 2:
        return None
    gains = np.log([statistics.median(new) / statistics.median(old) for old, new in zip(old_rounds, new_rounds, strict=True)])
    count = len(gains)
    length = max(1, min(round(2 * count ** (1 / 3)), count // 4))  # rounds; the exponent is the best for variances (Künsch)
    starts = rng.integers(0, count - length + 1, (_RESAMPLES, math.ceil(count / length), 1))
    drawn = (starts + np.arange(length)).reshape(_RESAMPLES, -1)[:, :count]
    freedom = count // length - 1
    error = float(np.median(gains[drawn], axis=1).std()) * math.sqrt((freedom + 1) / freedom)
    return _ratio(float(np.median(gains)), error, freedom)


def between(old_us: Sequence[float], new_us: Sequence[float], drift: float = 0.0) -> Ratio | None:
    """Two runs, each by the medians of its processes. None: under two processes in one, which show no spread.

    Processes differ by more than their calls do: addresses, huge pages, what ran before. So the process is the unit, and the
    spread of its medians contains that of the rounds and calls below it (Kalibera & Jones, Rigorous Benchmarking in Reasonable
    Time, ISMM 2013). The interval is Welch's t (Biometrika 34 (1947) 28-35) on logarithms; a percentile bootstrap of five and
    five processes covers 87 % where it says 95.

    drift: by how much whole runs of the same thing differ beside, a standard deviation of logarithms. It is known, so it has no
    degrees of freedom of its own (Welch-Satterthwaite, with infinitely many).
    """
    if min(len(old_us), len(new_us)) < 2:
        return None
    old, new = ([math.log(us) for us in side] for side in (old_us, new_us))
    of_old, of_new = (statistics.variance(side) / len(side) for side in (old, new))
    squares = of_old**2 / (len(old) - 1) + of_new**2 / (len(new) - 1)
    variance = of_old + of_new + 2 * drift**2
    freedom = int(min(variance**2 / squares, len(_T))) if squares else len(_T)
    return _ratio(statistics.fmean(new) - statistics.fmean(old), math.sqrt(variance), freedom)


def alike(processes_us: Sequence[float]) -> list[float]:
    """The medians of a run's processes, without one that is far apart from all others; of under five, all.

    Now and then one process is slow from its start to its end, by its place in memory or its core: 3 of 900 that measured one
    model, one of them by 10 %, while its four neighbours differed by 0.7 %; Welch's interval then grew from 1.6 to 5 %. Far
    apart is over 3 %, and over ten times as far as any other, from the median of the others: 1 of 250 normal samples has one.
    """
    if len(processes_us) < _FEWEST:
        return list(processes_us)
    logs = [math.log(us) for us in processes_us]
    middle = statistics.median(logs)
    farthest = max(range(len(logs)), key=lambda place: abs(logs[place] - middle))
    others = [log for place, log in enumerate(logs) if place != farthest]
    middle = statistics.median(others)
    apart = max(_APART, _TIMES * max(abs(log - middle) for log in others))
    return [us for place, us in enumerate(processes_us) if place != farthest or abs(logs[farthest] - middle) <= apart]


def _ratio(gain: float, error: float, freedom: int) -> Ratio:
    """A difference of logarithms and its standard error -> a ratio with its 95 % interval."""
    half = _T[min(max(freedom, 1), len(_T)) - 1] * error
    return Ratio(math.exp(gain), math.exp(gain - half), math.exp(gain + half))
