"""The outcome of `limiar bench` for a person."""

import textwrap
from collections.abc import Iterator, Sequence

from limiar.edge_app.bench.installed import Installed
from limiar.edge_app.bench.operators import Operator
from limiar.edge_app.bench.pipeline import STAGES
from limiar.edge_app.bench.result import BenchResult, Measurement, OpenLoop, Proposal, Variant, VariantRatio, titled
from limiar.edge_app.bench.timing import Latency
from limiar.edge_app.system.energy import Energy
from limiar.edge_app.text import counted

_COLUMNS = 80
_NAMES = ("file", "runtime", "thr")
_LATENCY = (*_NAMES, "in p50", "p90", "p99", "rounds", "all p50", "p90", "p99", "disk p50", "p99")
_RATIOS = (*_NAMES, "in", "from..to", "all", "from..to")
_ALONE = 5  # of these columns: of a model without a bundle only invoke was measured
_STARTING = (*_NAMES, "verified", "load ms", "ready ms", "answer ms", "peak MiB", "idle MiB", "first ms")
_ENERGY = (*_NAMES, "mJ", "from", "to", "idle W", "busy W")
_WORK = (*_NAMES, "MMAC", "GMAC/s", "of peak", "parameters", "arena kB", "file kB")
_OPERATORS = ("operator", "runs in", "count", "MMAC", "us", "share")
_OPEN = (*_NAMES, "p50", "p90", "p99", "p99.9", "late", "of")


def table(result: BenchResult, wide: bool = False) -> Iterator[str]:
    """Tables with a row for each variant; then what these mean, wrapped at 80 columns.

    wide: with the columns that do not fit into 80.
    """
    here = result.machine
    yield from _wrapped(f"{result.name}{result.version and ' '}{result.version} on {here.board or here.cpu}")
    yield from _wrapped(f"{here.cores} cores, {here.system}, {here.architecture}")
    for reason in result.invalid:
        yield from _wrapped(f"INVALID: {reason}")
    yield ""
    whole = result.kind == "bundle"
    yield from _aligned([_LATENCY, *map(_latency, result.measurements)] if whole else [*_alone(result.measurements)], wide)
    if result.ratios:
        yield ""
        yield from _wrapped(f"Time, divided by that of {titled(result.ratios[0].reference)}, with 95 % intervals")
        yield from _aligned([row if whole else row[:_ALONE] for row in (_RATIOS, *map(_ratios, result.ratios))], wide)
    if whole:
        yield ""
        yield from _aligned([(*_NAMES, *(f"{name} p50" for name in STAGES)), *map(_stages, result.measurements)], wide)
    if opened := [(one, one.open_loop) for one in result.measurements if one.open_loop]:
        yield ""
        yield f"{opened[0][1].rate_hz:g} images a second, from when each was due to its answer on the disk"
        yield from _aligned([_OPEN, *(_open(one, found) for one, found in opened)], wide)
    yield ""
    starting = [_STARTING, *map(_starting, result.measurements)]
    yield from _aligned(starting if whole else [row[:3] + row[4:] for row in starting], wide)  # a model is not verified
    yield from _energy(result)
    yield from _profile(result, wide)
    if result.installed:
        yield from _wrapped(_room(result.installed))
    for missed in result.skipped:
        yield from _wrapped(f"{titled(missed)}: left out: {missed.message}")
    yield ""
    yield from _wrapped(_legend(result))
    if result.proposal:
        yield from _wrapped(f"{proposed(result.proposal)}. --save-best keeps it.")
    for note in result.notes:
        yield from _wrapped(f"Warning: {note}")


_ROUNDS = '"rounds": the lowest and the highest median of a round of it.'
_OF_BUNDLE = (
    f'"in": inference alone; {_ROUNDS}',
    '"all": from the bytes of an image to its answer; "disk": from its file to its answer on the disk.',
)
_OF_MODEL = (f"Inference alone, with random numbers; {_ROUNDS}",)


def _legend(result: BenchResult) -> str:
    first = result.measurements[0].invoke
    calls = f"{counted(first.count, 'call')} of each, interleaved, in {counted(result.processes, 'process', 'processes')}"
    missing = [_missing("Not given", first, "calls")]
    if opened := [one.open_loop.latency for one in result.measurements if one.open_loop]:
        missing.append(_missing("In the open loop not given", min(opened, key=lambda one: one.count), "images"))
    return " ".join(
        (
            f"Microseconds; {calls}.",
            *(_OF_BUNDLE if result.kind == "bundle" else _OF_MODEL),
            f"The {'image' if result.kind == 'bundle' else 'input'}: {result.image}.",
            *filter(None, missing),
            f"Starts: from nothing to the loaded model and to the first answer, medians of {result.starts} fresh processes.",
        )
    )


def _missing(what: str, found: Latency, calls: str) -> str:
    """The percentiles for which there are too few calls, with the count that each needs; empty: there are none."""
    needs = [f"p{one.percent:g} needs {one.needs:,} {calls}" for one in found.percentiles if one.us is None]
    return f"{what}: {', '.join(needs)}." if needs else ""


def proposed(proposal: Proposal) -> str:
    """A sentence without its full stop."""
    best, over = proposal.best, proposal.over
    text = f"Best here: {titled(best)}: {proposal.why}"
    if over:
        text += f"; x {over.ratio:.2f} ({over.low:.2f} to {over.high:.2f}) the time of the bundle's default"
    return text


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _COLUMNS, subsequent_indent="  ", break_on_hyphens=False)


def _aligned(rows: Sequence[Sequence[str]], wide: bool) -> Iterator[str]:
    """Aligns the first two columns, which are text, to the left and the figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    shown = len(widths)
    while not wide and sum(widths[:shown]) + shown - 1 > _COLUMNS and shown > len(_NAMES) + 1:
        shown -= 1
    sides = ("<", "<", *">" * (len(widths) - 2))
    for row in rows:
        cells = [f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)]
        yield " ".join(cells[:shown])
    if shown < len(widths):
        yield f"({counted(len(widths) - shown, 'more column')}: --wide)"


def _room(found: Installed) -> str:
    adds = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in found.runtime_bytes.items())
    missing = f" Not counted, since their files are not listed: {', '.join(found.unknown)}." if found.unknown else ""
    return f"Installed: {found.base_bytes / 1e6:.0f} MB without Python and a runtime, which adds (MB): {adds}.{missing}"


def _energy(result: BenchResult) -> Iterator[str]:
    found = [(one, one.energy) for one in result.measurements if one.energy]
    if found:
        yield ""
        yield from _wrapped(f"Energy of an inference, the power at rest subtracted, by {found[0][1].meter}")
        yield from _aligned([_ENERGY, *(_used(one, energy) for one, energy in found)], True)
    elif result.energy and result.energy.reason:
        yield from _wrapped(f"Energy: not measured, {result.energy.reason}")


def _profile(result: BenchResult, wide: bool) -> Iterator[str]:
    """What --profile found: of each variant, and of its operators, those of a kind together unless there is room for all."""
    if not any(one.work for one in result.measurements):
        return
    yield ""
    yield from _wrapped("Work of an inference: multiply-accumulates, and the share of the peak measured here")
    yield from _aligned([_WORK, *(worked(one) for one in result.measurements if one.work)], wide)
    for one in result.measurements:
        if one.operators:
            yield ""
            how = "an estimate by multiply-accumulates" if one.operators[0].estimated else "measured in whole microseconds"
            yield from _wrapped(f"{titled(one)}, {how}")
            yield from _aligned([_OPERATORS, *_operators(one.operators, wide)], True)
    for peak in result.peaks:
        threads = counted(peak.threads, "thread")
        yield from _wrapped(f"Peak of {peak.precision} on {peak.runtime}, {threads}: {peak.gmacs_per_s:.0f} GMAC/s")


def worked(one: Measurement) -> tuple[str, ...]:
    """A row of what a variant's inference takes, behind its names."""
    work = one.work
    assert work
    return (
        *_names(one),
        "-" if work.macs is None else f"{work.macs / 1e6:.2f}",
        "-" if work.gmacs_per_s is None else f"{work.gmacs_per_s:.1f}",
        "-" if work.peak_share is None else f"{work.peak_share:.0%}",
        "-" if work.parameters is None else f"{work.parameters:,}",
        "-" if work.arena_bytes is None else f"{work.arena_bytes / 1000:.1f}",
        f"{one.bytes / 1000:.1f}",
    )


def _operators(operators: Sequence[Operator], wide: bool) -> Iterator[tuple[str, ...]]:
    """Rows of _OPERATORS."""
    groups: dict[tuple[str, ...], list[Operator]] = {}
    for place, one in enumerate(operators):
        groups.setdefault((one.name, one.runs_in, *([str(place)] if wide else [])), []).append(one)
    whole = sum(one.us or 0.0 for one in operators)
    for (name, runs_in, *_), those in groups.items():
        macs, known = sum(one.macs or 0 for one in those), [one.us for one in those if one.us is not None]
        us, share = (f"{sum(known):.1f}", f"{sum(known) / whole:.0%}") if known and whole else ("-", "-")
        yield name, runs_in, str(len(those)), f"{macs / 1e6:.2f}" if macs else "-", us, share


def _used(one: Measurement, energy: Energy) -> tuple[str, ...]:
    figures = [energy.per_inference_mj, energy.low_mj, energy.high_mj]
    watts = f"{energy.idle_w:.2f}", f"{energy.busy_w:.2f}"
    return *_names(one), *("-" if figure is None else f"{figure:.4g}" for figure in figures), *watts


def _names(one: Variant | Measurement) -> tuple[str, ...]:
    return one.file, one.runtime, str(one.threads)


def _us(*figures: float | None) -> list[str]:
    return ["-" if figure is None else f"{figure:.0f}" for figure in figures]


def _alone(measurements: Sequence[Measurement]) -> Iterator[tuple[str, ...]]:
    """Of a model without a bundle: the percentiles of invoke."""
    yield *_NAMES, "p50", "p90", "p99", "p99.9", "rounds"
    for one in measurements:
        found = one.invoke
        figures = (found.p50_us, found.p90_us, found.p99_us, found.p999_us)
        rounds = f"{found.round_low_us:.1f}..{found.round_high_us:.1f}"
        yield *_names(one), *("-" if figure is None else f"{figure:.1f}" for figure in figures), rounds


def _latency(one: Measurement) -> tuple[str, ...]:
    invoke, whole = (_us(found.p50_us, found.p90_us, found.p99_us) if found else ["-"] * 3 for found in (one.invoke, one.whole))
    rounds = f"{one.invoke.round_low_us:.0f}..{one.invoke.round_high_us:.0f}"
    total = _us(one.total.p50_us, one.total.p99_us) if one.total else ["-", "-"]
    return *_names(one), *invoke, rounds, *whole, *total


def _ratios(one: VariantRatio) -> tuple[str, ...]:
    figures = [
        cell
        for found in (one.invoke, one.whole)
        for cell in ((f"{found.ratio:.3f}", f"{found.low:.3f}..{found.high:.3f}") if found else ("-", "-"))
    ]
    return *_names(one.variant), *figures


def _stages(one: Measurement) -> tuple[str, ...]:
    return *_names(one), *_us(*(_p50(one.stages.get(name)) for name in STAGES))


def _p50(found: Latency | None) -> float | None:
    return found.p50_us if found else None


def _open(one: Measurement, found: OpenLoop) -> tuple[str, ...]:
    figures = found.latency
    return (
        *_names(one),
        *_us(figures.p50_us, figures.p90_us, figures.p99_us, figures.p999_us),
        str(found.late),
        str(found.planned),
    )


def _starting(one: Measurement) -> tuple[str, ...]:
    start = one.start
    figures = (start.load_ms, start.ready_ms, start.answered_ms, start.peak_mb, start.idle_mb, start.first_ms)
    return *_names(one), one.verified, *(f"{figure:.0f}" for figure in figures)
