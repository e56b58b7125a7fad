"""The most that this processor does with a runtime: two small networks that XNNPACK computes as fast as any that we found.

It is a measured peak and not the one of a data sheet. Memory plays no part: weights and pixels fit into the caches, as those of
models for small devices do.
"""

import gzip
import statistics
import time
from pathlib import Path
from typing import Literal

from msgspec import Struct

from limiar.edge_app.bench.bare import open_bare

Precision = Literal["int8", "fp32"]

_PLACE = Path(__file__).parent / "peak"  # made by scripts/make_peak_models.py
_MACS = 2 * 16 * 16 * 3 * 3 * 128 * 128  # of each: two 3x3 convolutions, 128 channels, 16x16 pixels
_BLOCK, _BLOCKS, _WARM_S = 20, 25, 0.3


class Peak(Struct, frozen=True):
    """Thousand million multiply-accumulates a second."""

    precision: Precision  # of weights and activations
    runtime: str
    threads: int
    gmacs_per_s: float


def measure_peak(precision: Precision, runtime: str, threads: int) -> Peak:
    """The fastest of 25 blocks of 20 inferences, after 0.3 s of warm-up: what disturbs it can only make it slower.

    Raises RuntimeUnavailable.
    """
    data = gzip.decompress((_PLACE / f"{precision}.tflite.gz").read_bytes())
    invoke = open_bare("tflite", data, runtime, threads).invoke
    clock, medians = time.perf_counter_ns, list[float]()
    until = time.monotonic() + _WARM_S
    while time.monotonic() < until:
        invoke()
    for _ in range(_BLOCKS):
        taken = list[int]()
        for _ in range(_BLOCK):
            began = clock()
            invoke()
            taken.append(clock() - began)
        medians.append(statistics.median(taken))
    return Peak(precision, runtime, threads, round(_MACS / min(medians), 3))
