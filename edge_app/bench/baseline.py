"""Gates for a release: slower than an older run of this machine, or over a budget."""

import math
import re
from typing import Literal

from msgspec import Struct

from limiar.edge_app.bench.percentiles import needed
from limiar.edge_app.bench.ratios import Ratio, alike, between
from limiar.edge_app.bench.recorded import Recorded, Recording, Timed
from limiar.edge_app.bench.yardstick import DRIFT
from limiar.edge_app.errors import LimiarError, printable
from limiar.edge_app.system.verdict import OTHERS_DOUBTFUL, mean_shares
from limiar.edge_app.text import counted

_PERCENTS = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
_UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6}


class Budget(Struct, frozen=True):
    """The most that a percentile may take."""

    text: str  # "p95=20ms"
    percent: float
    us: float


class Change(Struct, frozen=True):
    """What became of a variant, new / old."""

    title: str  # of the variant
    what: Literal["invoke", "whole"]
    old_us: float  # medians
    new_us: float
    raw: Ratio
    normalised: Ratio | None  # each process's median divided by that of its yardstick; None: a run has no such medians
    busy: float = 0.0  # the share of all cores that other programs took, in the busier of the two runs
    left_out: int = 0  # processes that were far apart from the others of their run

    @property
    def ratio(self) -> Ratio:
        """The better of the two: by the yardstick where there is one, since clocks wander from run to run."""
        return self.normalised or self.raw

    def slower_than(self, limit: float) -> bool:
        """Whether the interval lies wholly beyond. By the yardstick, what was measured must lie there too: numpy may be new.

        Not its interval: a clock that wanders widens it. With it, 654 of 800 pairs of runs of which one had an invoke that took
        10 % longer were more than 5 % apart, without it 774; of 1,940 pairs of the same invoke none (studies/bench_repeat.py).
        """
        return not self.doubtful and self.ratio.low > limit and self.raw.ratio > limit

    @property
    def doubtful(self) -> bool:
        """Whether other programs may be the reason: they push pixels out of the caches, which no yardstick here needs.

        In one of 20 trials of studies/bench_repeat.py, beside a test suite, the whole way of the same build took 9 % longer,
        and invoke 1 %.
        """
        return self.what == "whole" and self.busy > OTHERS_DOUBTFUL


class Judgement(Struct, frozen=True):
    """The outcome of a gate, and a line for each thing that was looked at."""

    passed: bool
    lines: tuple[str, ...]


def slower_limit(text: str) -> float:
    """The value of --fail-on: "slower=5%" -> 1.05. Raises ValueError."""
    found = re.fullmatch(r"slower=(\d{1,4}(?:\.\d{1,4})?)%", text, re.ASCII)
    if not found:
        raise ValueError(f"{text!r} is not a limit: write slower=5%")
    return 1 + float(found[1]) / 100


def budget_of(text: str) -> Budget:
    """The value of --budget: "p95=20ms". Raises ValueError."""
    found = re.fullmatch(r"(p\d+)=(\d{1,9}(?:\.\d{1,6})?)(us|ms|s)", text, re.ASCII)
    if not found or found[1] not in _PERCENTS or not float(found[2]):
        raise ValueError(f"{text!r} is not a budget: write p95=20ms, of {', '.join(_PERCENTS)}, in us, ms or s")
    return Budget(text, _PERCENTS[found[1]], float(found[2]) * _UNITS_US[found[3]])


def judge(new: Recorded, old: Recorded, limit: float) -> Judgement:
    """Whether anything takes more than `limit` times as long as in an older run of the same machine.

    It fails only where the 95 % interval of new / old, by the yardstick, lies wholly beyond the limit, and the raw ratio too.
    Raises LimiarError if the two cannot be compared.
    """
    for which, run in (("this run", new), ("the baseline", old)):
        if not run.valid:
            raise _incomparable(f"{which} is invalid ({printable('; '.join(run.invalid))})", "measure it again")
    if apart := differing(new, old):
        raise _incomparable(f"the baseline is of another machine: {apart}", "measure one on this machine")
    found = changes(new, old)
    if not found:
        raise _incomparable("no model file, runtime and threads are in both", "measure the same as in the baseline")
    slower = [one for one in found if one.slower_than(limit)]
    return Judgement(not slower, tuple(_told(one, one in slower, limit) for one in found))


def changes(new: Recorded, old: Recorded) -> tuple[Change, ...]:
    """Every variant that is in both: invoke, and from the bytes of an image to its answer if both measured it.

    Not reading and storing: what they take depends on the disk and its other users.
    """
    busy = max(mean_shares(run.timeline).others if run.timeline else 0.0 for run in (new, old))
    were = {one.variant: one for one in old.measurements}
    return tuple(
        change
        for one in new.measurements
        if (was := were.get(one.variant))
        for change in (
            _change(one, "invoke", new, old, one.invoke, was.invoke, busy),
            _change(one, "whole", new, old, one.whole, was.whole, busy),
        )
        if change
    )


def within_budget(new: Recorded, budget: Budget) -> Judgement:
    """Whether every variant keeps within it: in the open loop if there was one, otherwise the whole way, otherwise invoke.

    It fails where the 95 % interval lies wholly beyond, and where too few calls were made to know.
    """
    found = [_kept(one, budget) for one in new.measurements]
    return Judgement(all(kept for kept, _ in found), tuple(line for _, line in found))


def _change(
    one: Recording,
    what: Literal["invoke", "whole"],
    new: Recorded,
    old: Recorded,
    now: Timed | None,
    was: Timed | None,
    busy: float,
) -> Change | None:
    if not (now and was and now.p50_us and was.p50_us):
        return None
    # Runs of older versions had one process: as far apart as the medians of rounds can be.
    by_rounds = Ratio(now.p50_us / was.p50_us, now.round_low_us / was.round_high_us, now.round_high_us / was.round_low_us)
    if min(now.rounds, was.rounds) < 2:  # one round shows no spread: anything may be
        by_rounds = Ratio(now.p50_us / was.p50_us, 0.0, math.inf)
    sides = _by_yardstick(was, old.yardstick), _by_yardstick(now, new.yardstick)
    before, after = map(alike, sides)
    left_out = sum(map(len, sides)) - len(before) - len(after)
    normalised = between(before, after, DRIFT)
    raw = between(alike(was.process_p50_us), alike(now.process_p50_us), 0.0 if normalised else DRIFT) or by_rounds
    return Change(one.title, what, was.p50_us, now.p50_us, raw, normalised, busy, left_out)


def _by_yardstick(timed: Timed, yardstick: Timed | None) -> list[float]:
    """Each process's median divided by that of its yardstick."""
    if yardstick is None or len(yardstick.process_p50_us) != len(timed.process_p50_us):
        return []
    return [us / of for us, of in zip(timed.process_p50_us, yardstick.process_p50_us, strict=True)]


def _told(one: Change, slower: bool, limit: float) -> str:
    """In one line; the second interval is the one that counts least."""
    what = "invoke" if one.what == "invoke" else "bytes to answer"
    met = f"{printable(one.title)}, {what}: {one.old_us:.3g} -> {one.new_us:.3g} us, {in_words(one.raw)}"
    if one.normalised:
        met += f", by the yardstick {in_words(one.normalised)}"
    if one.left_out:
        met += f", without {counted(one.left_out, 'process', 'processes')} far apart from the others"
    if one.doubtful:
        return f"{met}: not judged, other programs took {one.busy:.0%} of the processor in one of the runs"
    return f"{met}: {'SLOWER' if slower else 'not shown to be slower'} by more than {100 * (limit - 1):.4g} %"


def in_words(ratio: Ratio) -> str:
    """x 1.10 (1.08 to 1.12)."""
    if math.isinf(ratio.high):
        return f"x {ratio.ratio:.3f} (a single round shows no spread: more --count would)"
    return f"x {ratio.ratio:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"


def _kept(one: Recording, budget: Budget) -> tuple[bool, str]:
    timed, what = (
        (one.open_loop.latency, "open loop") if one.open_loop else (one.total or one.invoke, "total" if one.total else "invoke")
    )
    name = budget.text.partition("=")[0]
    met = f"{printable(one.title)}, {what}: {name}"
    found = next((found for found in timed.percentiles if found.percent == budget.percent), None)
    if found is None or found.us is None or found.low_us is None or found.high_us is None:
        return False, f"{met} is not known, it needs {counted(needed(budget.percent), 'call')}: {budget.text} is NOT SHOWN"
    kept = found.low_us <= budget.us
    met += f" {found.us:.4g} us ({found.low_us:.4g} to {found.high_us:.4g})"
    return kept, f"{met}: {'within' if kept else 'BEYOND'} {budget.text}"


def differing(new: Recorded, old: Recorded) -> str:
    """What shows that two machines are two; empty if nothing does."""
    here, there = new.machine, old.machine
    facts = {
        "processor": (there.board or there.cpu, here.board or here.cpu),
        "architecture": (there.architecture, here.architecture),
        "cores": (str(there.cores), str(here.cores)),
        "vector units": (" ".join(sorted(there.features)), " ".join(sorted(here.features))),
    }
    return "; ".join(f"{fact} {printable(was)}, here {printable(now)}" for fact, (was, now) in facts.items() if was != now)


def _incomparable(met: str, cure: str) -> LimiarError:
    return LimiarError("E-BENCH-BASELINE", f"{met}: {cure}")
