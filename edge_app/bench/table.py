"""The outcome of `limiar bench` for a person."""

import textwrap
from collections.abc import Iterator, Sequence

from limiar.edge_app.bench.latency import BenchResult, Measurement
from limiar.edge_app.bench.timing import BEYOND
from limiar.edge_app.text import counted

_COLUMNS = 80
_LATENCY = ("file", "runtime", "thr", "in p50", "p90", "p99", "rounds", "all p50", "p90", "p99")
_STARTING = ("file", "runtime", "thr", "verified", "load ms", "ready ms", "answer ms", "peak MiB")


def table(result: BenchResult) -> Iterator[str]:
    """Two tables with a row for each variant, as wide as their figures; then what these mean, wrapped at 80 columns."""
    here = result.machine
    yield from _wrapped(f"{result.name} {result.version} on {here.board or here.cpu}")
    yield from _wrapped(f"{here.cores} cores, {here.system}, {here.architecture}")
    yield ""
    yield from _aligned([_LATENCY, *map(_latency, result.measurements)])
    yield ""
    yield from _aligned([_STARTING, *map(_starting, result.measurements)])
    for missed in result.skipped:
        where = f"{missed.file} on {missed.runtime}, {counted(missed.threads, 'thread')}"
        yield from _wrapped(f"{where}: left out: {missed.message}")
    yield ""
    yield from _wrapped(
        f"Microseconds; {result.measurements[0].invoke.count} calls of each, interleaved. "
        '"in": from the model\'s input to its logits; "rounds": the lowest and the highest median of a round of these. '
        f'"all": from the bytes of an image to its answer. The image: {result.image}. '
        f"A percentile is given if {BEYOND} calls lie beyond it. "
        f"Starts: from nothing to the loaded model and to the first answer, medians of {result.starts} fresh processes."
    )
    for note in result.notes:
        yield from _wrapped(f"Warning: {note}")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _COLUMNS, subsequent_indent="  ")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligns the first two columns, which are text, to the left and the figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = ("<", "<", *">" * (len(widths) - 2))
    return [" ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)) for row in rows]


def _latency(one: Measurement) -> tuple[str, ...]:
    invoke, whole = (
        ["-" if figure is None else f"{figure:.0f}" for figure in (latency.p50_us, latency.p90_us, latency.p99_us)]
        for latency in (one.invoke, one.whole)
    )
    rounds = f"{one.invoke.round_low_us:.0f}..{one.invoke.round_high_us:.0f}"
    return one.file, one.runtime, str(one.threads), *invoke, rounds, *whole


def _starting(one: Measurement) -> tuple[str, ...]:
    start = (one.start.load_ms, one.start.ready_ms, one.start.answered_ms, one.start.peak_mb)
    return one.file, one.runtime, str(one.threads), one.verified, *(f"{figure:.0f}" for figure in start)
