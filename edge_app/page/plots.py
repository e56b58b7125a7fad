"""The health view's small plots: what to draw, in the units of the drawing."""

from collections.abc import Callable, Sequence
from itertools import groupby

from msgspec import Struct

from limiar.edge_app.page.history import DAY_S, Sample

WIDTH, HEIGHT = 240, 48  # one step to the right is six minutes
_NOW_S = 300.0
_MARGIN = 2.0  # for the width of the line

MEASURES: dict[str, Callable[[Sample], float | None]] = {
    "answers": lambda one: one.answers,
    "referred": lambda one: one.referred,
    "queue": lambda one: one.queue,
    "temperature": lambda one: one.temperature,
    "memory": lambda one: one.memory,
    "free": lambda one: one.free,
}


class Plot(Struct, frozen=True):
    """A measure over the last day."""

    measure: str
    low: float
    high: float
    now: float | None  # the last one that is known, if it is of the last minutes
    line: str  # SVG path data, in a box of WIDTH by HEIGHT
    area: str  # below it


class Hour(Struct, frozen=True):
    """A row of the table that says the same."""

    start_s: float  # since 1970
    values: tuple[float | None, ...]  # means, in the order of MEASURES


def plots(samples: Sequence[Sample], now_s: float) -> list[Plot]:
    """Of the measures that are known. samples: in the order of time."""
    found = (_plot(name, value, samples, now_s) for name, value in MEASURES.items())
    return [plot for plot in found if plot]


def hours(samples: Sequence[Sample], now_s: float) -> list[Hour]:
    """The newest first; without those in which nothing was sampled."""
    rows = zip(*(_means(value, samples, now_s, 24) for value in MEASURES.values()), strict=True)
    starts = (now_s - DAY_S + number * DAY_S / 24 for number in range(24))
    found = [Hour(start, row) for start, row in zip(starts, rows, strict=True) if any(one is not None for one in row)]
    return found[::-1]


def _plot(name: str, value: Callable[[Sample], float | None], samples: Sequence[Sample], now_s: float) -> Plot | None:
    known = [one for sample in samples if (one := value(sample)) is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    last = [one for sample in samples if now_s - sample.time_s <= _NOW_S and (one := value(sample)) is not None]
    ground = low if name == "temperature" else 0.0
    scale = (HEIGHT - 2 * _MARGIN) / (high - ground) if high > ground else 0.0
    means = _means(value, samples, now_s, WIDTH)
    points = [None if one is None else (x + 0.5, HEIGHT - _MARGIN - (one - ground) * scale) for x, one in enumerate(means)]
    runs = [[one for one in run if one] for there, run in groupby(points, key=bool) if there]
    lines = ["L".join(f"{x:.1f} {y:.1f}" for x, y in (run if len(run) > 1 else run * 2)) for run in runs]
    areas = [f"M{line}L{run[-1][0]:.1f} {HEIGHT}L{run[0][0]:.1f} {HEIGHT}Z" for line, run in zip(lines, runs, strict=True)]
    return Plot(name, low, high, last[-1] if last else None, "".join(f"M{line}" for line in lines), "".join(areas))


def _means(value: Callable[[Sample], float | None], samples: Sequence[Sample], now_s: float, parts: int) -> list[float | None]:
    """Of each of so many equal parts of the last day; None where nothing was sampled."""
    found: list[list[float]] = [[] for _ in range(parts)]
    for sample in samples:
        part = int((sample.time_s - now_s + DAY_S) / DAY_S * parts)
        if (one := value(sample)) is not None and 0 <= part <= parts:
            found[min(part, parts - 1)].append(one)
    return [sum(one) / len(one) if one else None for one in found]
