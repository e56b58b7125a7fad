"""The outcome of `limiar bench` as a page: one file without scripts, to be read, printed and sent."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from limiar.edge_app.bench import plots
from limiar.edge_app.bench.pipeline import STAGES
from limiar.edge_app.bench.result import BenchResult, Measurement, Variant, titled
from limiar.edge_app.bench.samples import calls_of
from limiar.edge_app.bench.table import proposed, worked
from limiar.edge_app.bench.timeline import timeline_svg
from limiar.edge_app.bench.timing import Latency
from limiar.edge_app.report import templates

_INVOKE, _TOTAL, _OPEN = "inference", "total", "open"  # anchors of the page


class Timed(Struct, frozen=True):
    """A table of percentiles. percents: of the columns."""

    title: str
    note: str
    percents: tuple[float, ...]
    rows: tuple[tuple[str, Latency], ...]


class Figure(Struct, frozen=True):
    """A plot and what stands below it."""

    svg: str
    caption: str


class Plots(Struct, frozen=True):
    """Plots that share an axis. why: it is logarithmic."""

    anchor: str
    title: str
    why: str
    figures: tuple[Figure, ...]


def page(result: BenchResult) -> bytes:
    """HTML, UTF-8. Texts of the result are untrusted, and escaped. Raises ModuleNotFoundError: jinja2 is not installed."""
    return templates.render(
        Path(__file__).parent,
        "bench_page.html.j2",
        result=result,
        stages=STAGES,
        tables=[*_tables(result)],
        reference=_reference(result),
        ratio_plots=[*_ratio_plots(result)],
        stage_bars=plots.stage_bars({row(one): _medians(one) for one in result.measurements}),
        distributions=[*_distributions(result)],
        timeline=timeline_svg(result.timeline),
        proposal=proposed(result.proposal) if result.proposal else "",
        works=[one for one in result.measurements if one.work],
        worked=worked,
        titled=titled,
        row=row,
        us=us,
    )


def row(one: Variant | Measurement) -> str:
    """A variant in a plot or table: "tflite_int8 litert 1"."""
    return f"{one.file} {one.runtime} {one.threads}"


def us(figure: float | None) -> str:
    """Microseconds with three or more digits."""
    if figure is None:
        return "-"
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def _tables(result: BenchResult) -> Iterator[Timed]:
    found = result.measurements
    yield _timed("Inference alone", "Input and output are not copied.", [(one, one.invoke) for one in found])
    if wholes := [(one, one.whole) for one in found if one.whole]:
        yield _timed("From bytes to answer", "Decode, resize, invoke, decide.", wholes)
    if totals := [(one, one.total) for one in found if one.total]:
        yield _timed("From file to stored answer", "All stages, as for a camera's frame.", totals)
    if opened := [(one, one.open_loop) for one in found if one.open_loop]:
        late = "; ".join(f"{row(one)}: {loop.late:,} of {loop.planned:,}" for one, loop in opened if loop.late)
        rate = f"{opened[0][1].rate_hz:g} images a second, each measured from when it was due to its stored answer."
        note = f"{rate} Due while an earlier one was being answered: {late or 'none'}."
        yield _timed("Open loop", note, [(one, loop.latency) for one, loop in opened])


def _timed(title: str, note: str, rows: Sequence[tuple[Measurement, Latency]]) -> Timed:
    percents = tuple(one.percent for one in rows[0][1].percentiles) if rows else ()
    return Timed(title, note, percents, tuple((row(one), found) for one, found in rows))


def _reference(result: BenchResult) -> Measurement | None:
    """The variant by whose times the others are divided."""
    wanted = result.ratios[0].reference if result.ratios else None
    return next((one for one in result.measurements if Variant(one.file, one.runtime, one.threads) == wanted), None)


def _ratio_plots(result: BenchResult) -> Iterator[str]:
    yield plots.ratio_plot("inference alone", {row(one.variant): one.invoke for one in result.ratios if one.invoke})
    if result.kind == "bundle":
        yield plots.ratio_plot("bytes to answer", {row(one.variant): one.whole for one in result.ratios if one.whole})


def _medians(one: Measurement) -> dict[str, float]:
    return {name: found.p50_us for name, found in one.stages.items() if found.p50_us is not None}


def _distributions(result: BenchResult) -> Iterator[Plots]:
    """Of what is kept call by call."""
    found, reference = result.measurements, _reference(result)
    invoke = {row(one): (calls, one.invoke) for one in found if (calls := _calls([one.invoke])) is not None}
    total = {
        row(one): (calls, one.total) for one in found if one.total and (calls := _calls([*one.stages.values()])) is not None
    }
    loops = {row(one): one.open_loop.latency for one in found if one.open_loop}
    opened = {name: (calls, loop) for name, loop in loops.items() if (calls := _calls([loop])) is not None}
    for anchor, title, shown in (
        (_INVOKE, "Inference alone: every call", invoke),
        (_TOTAL, "From file to stored answer: every call", total),
        (_OPEN, "Open loop: every image, from when it was due", opened),
    ):
        if shown:
            yield _plots(anchor, title, shown, row(reference) if reference else None)


def _plots(anchor: str, title: str, shown: Mapping[str, tuple[plots.Calls, Latency]], reference: str | None) -> Plots:
    calls = {name: taken for name, (taken, _) in shown.items()}
    scale = plots.common_scale([*calls.values()])
    beside = (reference, calls[reference]) if reference in calls else None
    figures = tuple(
        Figure(
            plots.distribution(title, name, taken, found, scale, None if name == reference else beside),
            f"{name}: {len(taken):,} calls. {plots.beyond_words(taken, scale)}".strip(),
        )
        for name, (taken, found) in shown.items()
    )
    return Plots(anchor, title, plots.scale_words(calls, scale), figures)


def _calls(stages: Sequence[Latency]) -> plots.Calls | None:
    """Microseconds of each call over all stages, in ascending order; None: they were not kept."""
    kept = [calls_of(one.samples) for one in stages if one.samples]
    if not kept or len(kept) < len(stages) or not len(kept[0]):
        return None
    return np.sort(np.sum(kept, axis=0) / 1000)
