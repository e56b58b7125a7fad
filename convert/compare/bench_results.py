"""Two results of `limiar bench --json`: medians side by side, with the spread between rounds."""

from pathlib import Path
from typing import Literal

import msgspec

from limiar.convert.compare.outcome import reaches
from limiar.edge_app.bench.result import BenchResult, Measurement
from limiar.edge_app.bench.timing import Latency
from limiar.edge_app.bundle.manifest import Value
from limiar.edge_app.errors import ConvertError, printable
from limiar.edge_app.system.files import read_bounded
from limiar.edge_app.text import counted
from limiar.train.record.run_folder import RECORD_LIMIT

Speed = Literal["faster", "slower", "undecided"]


class TimingChange(Value, frozen=True, forbid_unknown_fields=True):
    """A variant's invoke latency in both, in microseconds: median, and the lowest and highest median of a round."""

    file: str
    runtime: str
    threads: int
    old_us: float
    old_rounds_us: tuple[float, float]
    new_us: float
    new_rounds_us: tuple[float, float]
    ratio: float  # new / old
    outcome: Speed  # undecided if the rounds overlap


class BenchReview(Value, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The outcome, as `--json` writes it."""

    schema: Literal[1] = 1
    kind: Literal["bench"] = "bench"
    summary: str
    outcome: Literal["better", "worse", "undecided", "not comparable"]  # of the variants, the gravest
    old: str  # name, version and manifest hash
    new: str
    notes: tuple[str, ...]
    timings: tuple[TimingChange, ...]

    def reaches(self, limit: str) -> bool:
        """Whether the outcome is `limit` or graver: "better" < "undecided" < "worse" < "not comparable"."""
        return reaches(self.outcome, limit)


def compare_bench(old: Path, new: Path) -> BenchReview:
    """The variants that are in both. Raises ConvertError: a file is not a bench result, or no variant is in both."""
    before, after = _read(old), _read(new)
    was = {_variant(one): one for one in before.measurements}
    timings = tuple(
        _timing(was[_variant(one)], one)
        for one in after.measurements
        if _variant(one) in was and one.invoke.p50_us and was[_variant(one)].invoke.p50_us
    )
    if not timings:
        met = f"{printable(str(old))} and {printable(str(new))} have no model file, runtime and threads in common"
        raise ConvertError("E-COMPARE-KIND", f"{met}: measure the same with limiar bench --json")
    counts = {outcome: sum(one.outcome == outcome for one in timings) for outcome in ("faster", "slower", "undecided")}
    other = _machine(before) != _machine(after)
    said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    return BenchReview(
        summary=f"not comparable, measured on two different machines: {said}" if other else said,
        outcome=(
            "not comparable" if other else "worse" if counts["slower"] else "undecided" if counts["undecided"] else "better"
        ),
        old=_title(before),
        new=_title(after),
        notes=tuple(_notes(before, after)),
        timings=timings,
    )


def _read(path: Path) -> BenchResult:
    try:
        return msgspec.json.decode(read_bounded(path, RECORD_LIMIT, follow=True), type=BenchResult)
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        met = f"{printable(str(path))}: {printable(str(error))[:200]}"
        raise ConvertError("E-COMPARE-KIND", f"{met}: give two results of limiar bench --json") from None


def _variant(one: Measurement) -> tuple[str, str, int]:
    return one.file, one.runtime, one.threads


def _title_of(one: Measurement) -> str:
    return f"{one.file} on {one.runtime}, {counted(one.threads, 'thread')}"


def _timing(old: Measurement, new: Measurement) -> TimingChange:
    assert old.invoke.p50_us
    assert new.invoke.p50_us
    outcome: Speed = "undecided"
    if new.invoke.round_high_us < old.invoke.round_low_us:
        outcome = "faster"
    elif new.invoke.round_low_us > old.invoke.round_high_us:
        outcome = "slower"
    return TimingChange(
        file=new.file,
        runtime=new.runtime,
        threads=new.threads,
        old_us=round(old.invoke.p50_us, 3),
        old_rounds_us=_rounds(old.invoke),
        new_us=round(new.invoke.p50_us, 3),
        new_rounds_us=_rounds(new.invoke),
        ratio=round(new.invoke.p50_us / old.invoke.p50_us, 4),
        outcome=outcome,
    )


def _rounds(latency: Latency) -> tuple[float, float]:
    return round(latency.round_low_us, 3), round(latency.round_high_us, 3)


def _notes(old: BenchResult, new: BenchResult) -> list[str]:
    notes = [f"{which}: {note}" for which, result in (("old", old), ("new", new)) for note in result.notes]
    if _machine(old) != _machine(new):
        notes.insert(0, "Measured on two different machines: the ratio compares these as much as the models.")
    timed = [{_title_of(one) for one in result.measurements if one.invoke.p50_us} for result in (old, new)]
    for which, alone in (("old", timed[0] - timed[1]), ("new", timed[1] - timed[0])):
        if alone:
            notes.append(f"Only in the {which} one, so not compared: {'; '.join(sorted(alone))}")
    return notes


def _machine(result: BenchResult) -> str | None:
    return result.machine.board or result.machine.cpu


def _title(result: BenchResult) -> str:
    return f"{result.name} {result.version} ({result.bundle[:12]})"
