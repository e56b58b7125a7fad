#!/usr/bin/env python3
"""Do two runs of `limiar bench` agree, and does `--baseline` see a model that became 10 % slower, and nothing else?

    studies/bench_repeat.py [--pairs 10] [--runs 20] [--preset normal --count 2000] [--json FOLDER] [--prefix "chrt -f 10"]

A trial is three runs of the same bundle: a baseline; the same build, judged by it; and a slower one, judged by it too, whose
invoke takes 10 % longer in the processes that measure. Which of the two comes first changes from trial to trial. `--pairs` of
the trials count for the intervals, `--runs` of them for the gate. Nothing in limiar knows of the slowdown: a `sitecustomize`
module on PYTHONPATH, which lives for the time of the study, wraps the interpreter's invoke.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import math
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from _patched import patched
from limiar.edge_app.bench.baseline import Change, changes, in_words, judge, slower_limit
from limiar.edge_app.bench.recorded import Recorded, read_result
from limiar.edge_app.exit_status import FAILED_CHECK
from limiar.edge_app.system.progress import ProgressLine

FAIL_ON = "slower=5%"
CONTAIN = 0.9  # of the pairs at least: an interval of 95 % leaves 1 out in one of twenty
SLOWER = 0.1  # of invoke

# Waits as long as is still missing: the wrapper itself takes part of a microsecond, and invoke takes ten.
SLOWED = """
import statistics, time

clock = time.perf_counter_ns

def wrapped(invoke, own_ns):
    def slowed(self):
        began = clock()
        invoke(self)
        ended = clock()
        until = ended + SHARE * (ended - began) - own_ns
        while clock() < until:
            pass
    return slowed

def median_ns(call):
    taken = []
    for _ in range(2001):
        began = clock()
        call(None)
        taken.append(clock() - began)
    return statistics.median(taken)

def patch(module):
    nothing = lambda self: None
    own_ns = median_ns(wrapped(nothing, 1e9)) - median_ns(nothing)
    module.Interpreter.invoke = wrapped(module.Interpreter.invoke, own_ns)
"""


class Run(Struct, frozen=True):
    """What one `limiar bench` gave."""

    status: int
    result: Recorded
    path: Path


class Trial(Struct, frozen=True):
    """A baseline, and the two builds that were judged by it."""

    baseline: Run
    same: Run
    slower: Run


class Bound(Struct, frozen=True):
    """How many of so many there were, and how many there must be."""

    what: str
    found: int
    of: int
    least: int = 0
    most: int | None = None

    @property
    def holds(self) -> bool:
        return self.least <= self.found <= (self.of if self.most is None else self.most)

    @property
    def must_be(self) -> str:
        return f"at least {self.least}" if self.most is None else f"at most {self.most}"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, default=Path("models/lung-nodule"))
    options.add_argument("--file", default="tflite_int8", help="a model file for LiteRT")
    options.add_argument("--pairs", type=int, default=10)
    options.add_argument("--runs", type=int, default=20)
    options.add_argument("--preset", default="normal", choices=["quick", "normal"])
    options.add_argument("--count", type=int, default=2000, help="calls of each run; 0: the preset's")
    options.add_argument("--json", type=Path, help="a folder for what bench measured")
    options.add_argument("--prefix", default="", help="a command that starts each run, such as: chrt -f 10")
    asked = options.parse_args()
    if min(asked.pairs, asked.runs) < 1:
        options.error("--pairs and --runs must be at least 1")
    began, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="limiar-bench-") as made, ProgressLine() as line:
        kept = asked.json or Path(made)
        kept.mkdir(parents=True, exist_ok=True)
        slowing = patched(Path(made) / "slower", "ai_edge_litert.interpreter", SLOWED.replace("SHARE", str(SLOWER)))
        words = ["--file", asked.file, "--runtime", "litert", "--preset", asked.preset]
        words += ["--count", str(asked.count)] if asked.count else []
        command = [*shlex.split(asked.prefix), sys.executable, "-m", "limiar", "bench", str(asked.bundle), *words]
        bench = Bench(command, slowing, kept)
        trials = list[Trial]()
        for number in range(max(asked.pairs, asked.runs)):
            line.draw(f"trial {number + 1} of {max(asked.pairs, asked.runs)}")
            trials.append(bench.trial(number))
            line.clear()
            print(f"{number + 1:>3}  {told(trials[-1])}", flush=True)
    minutes = (time.monotonic() - began) / 60
    print(f"\n{3 * len(trials)} runs in {minutes:.1f} min; load {load:.1f} before, {os.getloadavg()[0]:.1f} after")
    bounds = report(trials, asked.pairs, asked.runs)
    print(f"\n{'measured':<66} {'found':>9}  must be")
    for one in bounds:
        print(f"{one.what:<66} {f'{one.found} of {one.of}':>9}  {one.must_be}{'' if one.holds else '   NOT REACHED'}")
    return 0 if all(one.holds for one in bounds) else 3


class Bench(Struct, frozen=True):
    """`limiar bench`, as a user runs it."""

    command: list[str]
    slowing: dict[str, str]  # the environment in which invoke takes longer
    kept: Path

    def trial(self, number: int) -> Trial:
        baseline = self.run(f"{number:02}-baseline")
        slow_first = number % 2 == 1
        found = {
            slow: self.run(f"{number:02}-{'slower' if slow else 'same'}", baseline.path, slow)
            for slow in (slow_first, not slow_first)
        }
        return Trial(baseline, found[False], found[True])

    def run(self, name: str, baseline: Path | None = None, slow: bool = False) -> Run:
        path = self.kept / f"{name}.json"
        gate = ["--baseline", str(baseline), "--fail-on", FAIL_ON] if baseline else []
        command = [*self.command, "--json", str(path), *gate]
        done = subprocess.run(command, env=self.slowing if slow else None, capture_output=True, text=True, check=False)
        if done.returncode not in (0, FAILED_CHECK):
            raise SystemExit(f"limiar bench ended with {done.returncode}: {done.stderr.strip()}")
        return Run(done.returncode, read_result(path), path)


def invoke(new: Run, old: Run) -> Change:
    return next(one for one in changes(new.result, old.result) if one.what == "invoke")


def told(trial: Trial) -> str:
    """One line: what the gate said of both builds, and the interval by which it judges."""
    return "; ".join(
        f"{name} {in_words(invoke(run, trial.baseline).ratio)}{' flagged' if run.status else ''}"
        for name, run in (("same", trial.same), ("slower", trial.slower))
    )


def report(trials: Sequence[Trial], pairs: int, runs: int) -> list[Bound]:
    """Prints how far runs lie apart, and returns what must hold."""
    same = [invoke(one.same, one.baseline) for one in trials]
    slower = [invoke(one.slower, one.baseline) for one in trials]
    for name, found in (("same build", same), ("slower build", slower)):
        for how, ratios in (("as measured", [one.raw for one in found]), ("as judged", [one.ratio for one in found])):
            gains = [100 * math.log(one.ratio) for one in ratios]
            width = statistics.median(100 * (one.high / one.low - 1) / 2 for one in ratios)
            print(
                f"{name + ', ' + how:<26} median {statistics.median(gains):+5.1f} %, from {min(gains):+5.1f}"
                f" to {max(gains):+5.1f} %; interval +-{width:.1f} % (median)"
            )
    first, limit = trials[0].baseline.result, slower_limit(FAIL_ON)
    old = [sum(not judge(getattr(one, which).result, first, limit).passed for one in trials) for which in ("same", "slower")]
    print(
        f"judged by the first baseline alone: {old[0]} of the same build flagged, {old[1]} of the slower one, of {len(trials)}"
    )
    contain = sum(one.ratio.low <= 1 <= one.ratio.high for one in same[:pairs])
    flagged = [
        sum(run.status == FAILED_CHECK for run in found[:runs])
        for found in ([one.same for one in trials], [one.slower for one in trials])
    ]
    return [
        Bound("pairs of runs of one build whose interval contains 1", contain, pairs, least=math.ceil(CONTAIN * pairs)),
        Bound(f"runs of the same build that --fail-on {FAIL_ON} flags", flagged[0], runs, most=0),
        Bound(f"runs whose invoke takes {SLOWER:.0%} longer that it flags", flagged[1], runs, least=runs),
    ]


if __name__ == "__main__":
    sys.exit(main())
