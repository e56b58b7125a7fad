"""A fixed piece of work that takes turns with the variants, so that two runs can be compared."""

from collections.abc import Callable

import numpy as np

_SIDE = 48  # of a matrix: three of them fit into the first cache of every processor, and a BLAS takes one thread
# What is left between two whole runs of one model, each process divided by its yardstick: a standard deviation of logarithms.
# Of 60 runs within 14 minutes, while others took 0 to 92 % of a shared x86-64 server with two cores, the intervals between two
# held 1 in 79 % of pairs without it, and in 94 % with it (studies/bench_repeat.py). Not measured on a board.
DRIFT = 0.005
_TIMES = 4  # as long as the reference model's invoke: 12 us on an x86-64 server


def yardstick() -> Callable[[], object]:
    """Products of float32 matrices, by numpy: neither limiar nor a runtime changes what they take.

    Clocks and neighbours move everything from one minute to the next. Of 200 processes that measured one model in turn (shared
    x86-64 server, two cores), the median of invoke had a standard deviation of 1.5 %; divided by this work's median 0.7 %, by
    that of SHA-256 0.5 %, by that of a loop in Python 2.4 %. Intervals between two times five of them, taken minutes apart,
    held 1 in 46 % of pairs as they were, in 97 % divided by this, in 82 % by SHA-256, whose error is smaller but lasts.
    """
    matrix = np.random.default_rng(17).random((_SIDE, _SIDE), dtype=np.float32) - 0.5
    out = np.empty_like(matrix)

    def work() -> None:
        for _ in range(_TIMES):
            np.matmul(matrix, matrix, out=out)

    return work
