"""What the repeat processes measured -> the figures of each variant, and why these may be doubtful."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from limiar.edge_app.bench.loops import WarmUp
from limiar.edge_app.bench.plan import Preset
from limiar.edge_app.bench.ratios import within
from limiar.edge_app.bench.repeat import Measured, Taken
from limiar.edge_app.bench.result import Measurement, OpenLoop, Variant, VariantRatio, titled
from limiar.edge_app.bench.start import Start
from limiar.edge_app.bench.timing import Latency, Rounds, latency
from limiar.edge_app.inference.verified import VerifiedBy
from limiar.edge_app.system.energy import Energy
from limiar.edge_app.text import counted

_WHOLE = ("decode", "resize", "invoke", "decide")
_SPREAD = 0.2  # if the medians of rounds differ by more, the machine was busy


def measurement(
    variant: Variant,
    start: Start,
    taken: Sequence[Taken],
    chosen: Preset,
    *,
    size: int,
    verified: VerifiedBy | Literal["no"] = "no",
    rate_hz: float | None = None,
    planned: int = 0,
    energy: Energy | None = None,
) -> Measurement:
    """taken: by process. size: of the model file, bytes. planned: images of the open loop."""

    def found(processes: Sequence[Rounds]) -> Latency:
        return latency(processes, keep=True, early_stopping=chosen.early_stopping)

    by_name = {name: [one.stages[name] for one in taken] for name in taken[0].stages}
    opened = None
    if rate_hz is not None:
        arrived = found([[one.arrivals] for one in taken if one.arrivals])  # a process may have had none
        opened = OpenLoop(rate_hz, planned, sum(one.late for one in taken), arrived)
    return Measurement(
        file=variant.file,
        runtime=variant.runtime,
        version=start.version,
        threads=variant.threads,
        verified=verified,
        bytes=size,
        invoke=found([one.invoke for one in taken]),
        whole=latency(_sums([by_name[name] for name in _WHOLE])) if by_name else None,
        start=start,
        stages={name: found(processes) for name, processes in by_name.items()},
        total=latency(_sums(list(by_name.values())), early_stopping=chosen.early_stopping) if by_name else None,
        warm_up=_longest([one.warm_up for one in taken]),
        open_loop=opened,
        energy=energy,
    )


def whole_rounds(taken: Sequence[Taken]) -> list[list[int]]:
    """The rounds of all processes: nanoseconds from the bytes of an image to its answer. None for a model without a bundle."""
    if not taken[0].stages:
        return []
    return [block for rounds in _sums([[one.stages[name] for one in taken] for name in _WHOLE]) for block in rounds]


def ratios_of(taken: Mapping[Variant, Sequence[Taken]], default: str, seed: int) -> tuple[VariantRatio, ...]:
    """Each variant's time divided by that of the first with the bundle's default file, or of the first. taken: by process."""
    rng = np.random.default_rng(seed)
    rounds = {one: ([block for each in found for block in each.invoke], whole_rounds(found)) for one, found in taken.items()}
    reference = next((one for one in rounds if one.file == default), next(iter(rounds)))
    invoke, whole = rounds.pop(reference)
    return tuple(
        VariantRatio(one, reference, within(invoke, of_invoke, rng), within(whole, of_whole, rng))
        for one, (of_invoke, of_whole) in rounds.items()
    )


def _sums(stages: Sequence[Sequence[Rounds]]) -> list[list[list[int]]]:
    """Of several stages: the nanoseconds of each call, by process and round."""
    return [
        [list(map(sum, zip(*block, strict=True))) for block in zip(*rounds, strict=True)]
        for rounds in zip(*stages, strict=True)
    ]


def _longest(warm_ups: Sequence[WarmUp]) -> WarmUp:
    """The one that took longest; steady if all were."""
    longest = max(warm_ups, key=lambda one: one.calls)
    return WarmUp(longest.calls, longest.ms, all(one.steady for one in warm_ups))


def notes_of(measurements: Sequence[Measurement], measured: Sequence[Measured]) -> Iterator[str]:
    """Why the figures are doubtful, besides what the board did."""
    worst = max(measurements, key=lambda one: _spread(one.invoke))
    if _spread(worst.invoke) > _SPREAD:
        met = f"{worst.file} on {worst.runtime} by {_spread(worst.invoke):.0%}"
        yield f"the medians of rounds differ, {met}: close other programs and measure again"
    for one in measurements:
        where = titled(one)
        if one.warm_up and not one.warm_up.steady:
            yield f"{where} was not steady after {one.warm_up.calls} calls: its figures may contain its warm-up"
        if one.open_loop and not one.open_loop.kept_up:
            met = f"fell behind {one.open_loop.rate_hz:g} images a second"
            yield f"{where} {met}: its open-loop percentiles are too low, choose a lower --rate"
    if refused := list(itertools.islice(measured[0].unread, 1)):
        met = f"{counted(len(measured[0].unread), 'image')} could not be read, the first {refused[0].path}"
        yield f"{met} ({refused[0].message})"


def _spread(found: Latency) -> float:
    """How far apart the medians of rounds are, as a share of the lowest."""
    return (found.round_high_us - found.round_low_us) / found.round_low_us
