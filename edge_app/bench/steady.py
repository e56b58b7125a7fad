"""From which call on a measurement was steady."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_FEWEST = 10  # blocks; with fewer nothing can be said
_TAIL = 10  # the last n / 10 blocks are never all that is kept: a few that agree by chance are not a steady state
_FENCE = 2.2  # distances of the quartiles: with Tukey's 1.5, a step of three deviations was kept in 1 of 10 series
_ALIKE = 0.005  # of the median: a change this small costs a percentile nothing, and coarse clocks round by as much


def steady_after(taken_ns: Sequence[int], block: int) -> int | None:
    """The calls to drop from the start, a multiple of `block`; None: not steady within the sample, or under 10 blocks.

    MSER, the marginal standard error rule (White, Simulation 69 (1997) 323-334; in batches, White, Cobb & Spratt, Winter
    Simulation Conference 2000, 755-760): drop the d blocks that leave the smallest sum of squares / (n - d)^2, the squared
    standard error of what is kept; if that drops more than half, the sample is too short. It takes away what does more harm to
    the mean than its calls do good: a falling start, a step, but not noise.

    Made robust in two ways, because other programs stop calls at any time: a block counts by its median, clipped to the fences
    of the second half (the quartiles, and 2.2 times their distance beyond: Hoaglin & Iglewicz, JASA 82 (1987) 1147-1149); and
    0.5 % of the median is added to the deviation, so that differences for which nobody would care do not decide.
    """
    count = len(taken_ns) // block
    if count < _FEWEST:
        return None
    medians = np.median(np.array(taken_ns[: count * block], dtype=np.float64).reshape(count, block), axis=1)
    dropped = int(np.argmin(_errors(_clipped(medians))[: count - count // _TAIL + 1]))
    return dropped * block if dropped <= count // 2 else None


def _clipped(medians: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.percentile(medians[len(medians) // 2 :], (25, 75))
    reach = _FENCE * (high - low)
    return np.clip(medians, low - reach, high + reach)


def _errors(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [n] -> float64 [n]: the squared standard error of the mean of values[d:]."""
    kept = np.arange(len(values), 0, -1)
    centred = values - values.mean()  # squares of large numbers would lose digits
    sums, squares = (np.cumsum(figures[::-1])[::-1] for figures in (centred, centred**2))
    alike = (_ALIKE * float(np.median(values))) ** 2
    errors: NDArray[np.float64] = (squares - sums**2 / kept + kept * alike) / kept**2
    return errors
