"""How much is measured: presets, and what a repeat process is told."""

import os

from msgspec import Struct

from limiar.edge_app.bench.loops import BLOCK
from limiar.edge_app.bench.result import Variant


class Preset(Struct, frozen=True):
    """How much to measure."""

    count: int  # calls of each variant, over all processes
    seconds: float  # of each variant, over all processes: no further round begins after that
    processes: int  # that measure, one after another: the spread between them is that between two runs
    starts: int  # fresh processes for each variant; the median counts
    energy_s: float  # of inference of each variant alone, where the board has a meter; it rests for as long
    early_stopping: bool = False


PRESETS = {
    "quick": Preset(count=1000, seconds=5, processes=2, starts=3, energy_s=2),  # p99 needs 662
    "normal": Preset(count=10_000, seconds=20, processes=5, starts=5, energy_s=5),  # p99.9 needs 6,636
    # MLPerf Inference's rules for a single stream: 600 s at least, p90 by early stopping.
    "mlperf": Preset(count=10_000_000, seconds=600, processes=5, starts=5, energy_s=20, early_stopping=True),
}
OPEN_S = 60.0  # of the open loop, for each variant
UNLIMITED_S = 86_400.0  # for a count that the user gave
_THREADS = (1, 2, 4)  # that `--save-best` tries: a board has up to four fast cores, and small models gain nothing from more


class Plan(Struct, frozen=True, kw_only=True):
    """What one repeat process measures."""

    bundle: str  # its folder or file, or a model file
    sha256: str  # of the manifest, or the model file, that the parent opened
    variants: tuple[Variant, ...]
    images: tuple[str, ...]  # files; none: the sample, in memory
    store: str | None  # a database that is thrown away; None: there is no place for one
    count: int  # calls of each variant
    seconds: float  # of each variant
    rate_hz: float | None
    arrivals: int  # images of each variant in the open loop
    seed: int
    bare: bool = False  # a model file without a bundle: only invoke


def resolve(preset: Preset, count: int | None, seconds: float | None) -> Preset:
    """The preset with what the user asked for instead. A count alone has no limit of time, seconds alone none of calls."""
    calls = count or (preset.count if seconds is None else PRESETS["mlperf"].count)
    limit = seconds or (preset.seconds if count is None else UNLIMITED_S)
    processes = max(1, min(preset.processes, calls // BLOCK))
    energy_s = min(seconds or preset.energy_s, preset.energy_s)
    return Preset(calls, limit, processes, preset.starts, energy_s, preset.early_stopping)


def shares(count: int, processes: int) -> list[int]:
    """`count` calls over the processes: 53 over 2 are 27 and 26."""
    each, more = divmod(count, processes)
    return [each + (number < more) for number in range(processes)]


def tried_threads() -> list[int]:
    """The numbers of threads among which the best is looked for: 1, 2 and 4, up to the cores that this process may use."""
    return [count for count in _THREADS if count <= len(os.sched_getaffinity(0))]


def arrivals(rate_hz: float | None, seconds: float | None) -> int:
    """The images of a variant's open loop. Raises ValueError: not one is due in that time."""
    if rate_hz is None:
        return 0
    count = round((seconds or OPEN_S) * rate_hz)
    if not count:
        raise ValueError(f"{rate_hz:g} images a second are none in {seconds or OPEN_S:g} s: give more --seconds")
    return count
