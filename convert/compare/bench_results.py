"""Two results of `limiar bench --json`: medians side by side, and what is beyond doubt between them."""

import math
from pathlib import Path
from typing import Literal

from limiar.convert.compare.outcome import reaches
from limiar.edge_app.bench.baseline import Change, changes, differing
from limiar.edge_app.bench.recorded import Recorded, Recording, Timed, read_result
from limiar.edge_app.bundle.manifest import Value
from limiar.edge_app.errors import ConvertError, printable

Speed = Literal["faster", "slower", "undecided"]


class TimingChange(Value, frozen=True, forbid_unknown_fields=True):
    """A variant's latency in both, in microseconds: median, and the lowest and highest median of a round."""

    file: str
    runtime: str
    threads: int
    old_us: float
    old_rounds_us: tuple[float, float]
    new_us: float
    new_rounds_us: tuple[float, float]
    ratio: float  # new / old
    outcome: Speed  # undecided if the interval holds 1
    low: float | None = None  # the 95 % interval of new / old, over the processes that measured
    high: float | None = None
    by_yardstick: tuple[float, float, float] | None = None  # new / old, low, high, each process divided by its yardstick


class BenchReview(Value, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The outcome, as `--json` writes it."""

    schema: Literal[1] = 1
    kind: Literal["bench"] = "bench"
    summary: str
    outcome: Literal["better", "worse", "undecided", "not comparable"]  # of the variants, the gravest
    old: str  # name, version and manifest hash
    new: str
    notes: tuple[str, ...]
    timings: tuple[TimingChange, ...]  # of invoke
    wholes: tuple[TimingChange, ...] = ()  # from the bytes of an image to its answer, where both measured it

    def reaches(self, limit: str) -> bool:
        """Whether the outcome is `limit` or graver: "better" < "undecided" < "worse" < "not comparable"."""
        return reaches(self.outcome, limit)


def compare_bench(old: Path, new: Path) -> BenchReview:
    """The variants that are in both. Raises ConvertError: a file is not a bench result, or no variant is in both.

    Faster or slower is what lies beyond doubt: the 95 % interval of new / old, over the medians of the processes that measured,
    does not hold 1, and neither does the one that is divided by the yardstick (edge_app/bench/baseline.py). Results of earlier
    versions have one process: there the rounds must not overlap.
    """
    before, after = read_bench(old), read_bench(new)
    found = changes(after, before)
    timings, wholes = (tuple(_timing(one, before, after) for one in found if one.what == what) for what in ("invoke", "whole"))
    if not timings:
        met = f"{printable(str(old))} and {printable(str(new))} have no model file, runtime and threads in common"
        raise ConvertError("E-COMPARE-KIND", f"{met}: measure the same with limiar bench --json")
    said, worse = _counted(timings), any(one.outcome == "slower" for one in (*timings, *wholes))
    if slower := sum(one.outcome == "slower" for one in wholes):
        said += f"; {slower} slower from bytes to answer"
    undecided = any(one.outcome == "undecided" for one in timings)
    apart = _apart(before, after)
    return BenchReview(
        summary=f"not comparable, {apart}: {said}" if apart else said,
        outcome="not comparable" if apart else "worse" if worse else "undecided" if undecided else "better",
        old=_title(before),
        new=_title(after),
        notes=tuple(_notes(before, after)),
        timings=timings,
        wholes=wholes,
    )


def read_bench(path: Path) -> Recorded:
    """One result, of any version. Raises ConvertError."""
    try:
        return read_result(path)
    except ValueError as error:
        raise ConvertError("E-COMPARE-KIND", f"{error}: give results of limiar bench --json") from None


def machine_of(result: Recorded) -> str:
    """The board, or else the processor, and the cores that were used."""
    return printable(f"{result.machine.board or result.machine.cpu}, {result.machine.cores} cores")


def _timing(one: Change, before: Recorded, after: Recorded) -> TimingChange:
    new, old = (next(each for each in result.measurements if each.title == one.title) for result in (after, before))
    raw, divided = one.raw, one.ratio
    outcome: Speed = "undecided"
    if one.doubtful:
        pass
    elif max(raw.high, divided.high) < 1:
        outcome = "faster"
    elif min(raw.low, divided.low) > 1:
        outcome = "slower"
    return TimingChange(
        file=new.file,
        runtime=new.runtime,
        threads=new.threads,
        old_us=round(one.old_us, 3),
        old_rounds_us=_rounds(old, one.what),
        new_us=round(one.new_us, 3),
        new_rounds_us=_rounds(new, one.what),
        ratio=round(one.new_us / one.old_us, 4),
        outcome=outcome,
        low=None if math.isinf(raw.high) else round(raw.low, 4),  # a single round shows no spread
        high=None if math.isinf(raw.high) else round(raw.high, 4),
        by_yardstick=(round(divided.ratio, 4), round(divided.low, 4), round(divided.high, 4)) if one.normalised else None,
    )


def _rounds(one: Recording, what: Literal["invoke", "whole"]) -> tuple[float, float]:
    timed: Timed | None = one.invoke if what == "invoke" else one.whole
    assert timed
    return round(timed.round_low_us, 3), round(timed.round_high_us, 3)


def _counted(timings: tuple[TimingChange, ...]) -> str:
    counts = {outcome: sum(one.outcome == outcome for one in timings) for outcome in ("faster", "slower", "undecided")}
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)


def _apart(old: Recorded, new: Recorded) -> str:
    """Why the two cannot be compared; empty if they can."""
    if differing(new, old):
        return "measured on two different machines"
    invalid = [which for which, result in (("old", old), ("new", new)) if not result.valid]
    return f"the {' and the '.join(invalid)} run is INVALID" if invalid else ""


def _notes(old: Recorded, new: Recorded) -> list[str]:
    notes = [f"{which}: {note}" for which, result in (("old", old), ("new", new)) for note in (*result.invalid, *result.notes)]
    if apart := differing(new, old):
        notes.insert(0, f"Measured on two different machines ({apart}): the ratio compares these as much as the models.")
    timed = [{one.title for one in result.measurements if one.invoke.p50_us} for result in (old, new)]
    for which, alone in (("old", timed[0] - timed[1]), ("new", timed[1] - timed[0])):
        if alone:
            notes.append(f"Only in the {which} one, so not compared: {'; '.join(sorted(alone))}")
    return notes


def _title(result: Recorded) -> str:
    """Of a bundle: its name, version and hash; of a model file: its name and hash."""
    return " ".join(filter(None, (result.name, result.version, f"({result.bundle[:12]})" if result.bundle else "")))
