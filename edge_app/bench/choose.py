"""Which model file, runtime and number of threads should answer on this device."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from limiar.edge_app.bench.ratios import Ratio, within
from limiar.edge_app.bench.result import BenchResult, Measurement, Proposal, Variant
from limiar.edge_app.bench.timing import Rounds
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.errors import LimiarError, RuntimeUnavailable
from limiar.edge_app.inference.verified import ensure_verified
from limiar.edge_app.store.profile import Hardware, Profile, RunnerUp, save_profile
from limiar.edge_app.system.emulation import emulated
from limiar.edge_app.text import counted


class Candidate(Struct, frozen=True):
    """A variant that may answer here."""

    whole: Rounds  # of all processes
    p50_us: float
    bytes: int


class Proposed(Struct, frozen=True):
    """What should answer, and what was learned on the way."""

    proposal: Proposal | None
    measurements: tuple[Measurement, ...]  # with who verified each now
    notes: tuple[str, ...]  # why faster ones may not answer


def propose(bundle: Bundle, measurements: Sequence[Measurement], wholes: Sequence[Rounds], seed: int, verify: bool) -> Proposed:
    """The fastest that may answer here: its file passed the gate, and its golden images pass on that runtime.

    wholes: of each measurement, from the bytes of an image to its answer. verify: runs the golden images of a winner that was
    not verified here before, and chooses again if they do not pass; otherwise only variants that were verified are candidates.
    """
    found = {Variant(one.file, one.runtime, one.threads): one for one in measurements}
    candidates = {
        variant: Candidate(whole, one.whole.p50_us, one.bytes)
        for (variant, one), whole in zip(found.items(), wholes, strict=True)
        if one.whole and one.whole.p50_us is not None and (verify or one.verified != "no")
    }
    notes = []
    while proposal := choose(candidates, bundle.model(None)[0].name, seed):
        best = found[proposal.best]
        if best.verified != "no":
            break
        same = [one for one in found if (one.file, one.runtime) == (best.file, best.runtime)]  # whatever its threads
        try:
            by = ensure_verified(bundle, bundle.model(best.file)[0], best.runtime, best.version)
        except RuntimeUnavailable as error:
            notes.append(f"{error.message}")
            candidates = {one: candidate for one, candidate in candidates.items() if one not in same}
        else:
            found.update({one: replace(found[one], verified=by) for one in same})
    return Proposed(proposal, tuple(found.values()), tuple(notes))


def choose(candidates: Mapping[Variant, Candidate], default: str, seed: int) -> Proposal | None:
    """The fastest from image to answer; None: there are no candidates.

    Those whose interval of the ratio to the fastest holds 1 are as fast; of them the fewest threads are taken, then the file
    that the bundle would choose (`default`), then the smallest.
    """
    if not candidates:
        return None
    rng = np.random.default_rng(seed)
    order = sorted(candidates, key=lambda one: candidates[one].p50_us)
    fastest = order[0]
    ratios = {one: within(candidates[fastest].whole, candidates[one].whole, rng) for one in order[1:]}
    as_fast = [fastest, *(one for one, ratio in ratios.items() if ratio is None or ratio.low <= 1)]
    best, reason = _preferred(as_fast, candidates, default)
    ordinary = next((one for one in candidates if (one.file, one.threads) == (default, 1)), None)
    over: Ratio | None = None
    if ordinary and ordinary != best:
        over = within(candidates[ordinary].whole, candidates[best].whole, rng)
    runner_up = next((one for one in order if one != best), None)
    why = "nothing else was measured" if len(order) == 1 else f"the fastest of {len(order)} from image to answer"
    if len(as_fast) > 1:
        why = f"as fast as {counted(len(as_fast) - 1, 'other')}, and preferred for {reason}"
    return Proposal(best, why, over, runner_up)


def _preferred(as_fast: list[Variant], candidates: Mapping[Variant, Candidate], default: str) -> tuple[Variant, str]:
    """The one to take, and what sets it apart from the last that it was compared with."""
    reasons: dict[str, Callable[[Variant], float]] = {
        "fewer threads": lambda one: one.threads,
        "being the bundle's choice": lambda one: one.file != default,
        "its smaller file": lambda one: candidates[one].bytes,
        "its lower median": lambda one: candidates[one].p50_us,
    }
    left, decided = as_fast, ""
    for reason, rank in reasons.items():
        least = min(map(rank, left))
        if len(fewer := [one for one in left if rank(one) == least]) < len(left):
            left, decided = fewer, reason
    return left[0], decided or "coming first"


def check_keepable() -> None:
    """To be asked before minutes of measuring. Raises LimiarError: nothing that is measured here may be kept."""
    if emulator := emulated():
        raise _unfit(f"the processor is emulated by {emulator}")


def save_best(result: BenchResult, state: Path) -> Path:
    """Keeps the proposal as this device's profile. Raises LimiarError: the run is not to be relied on; and OSError."""
    check_keepable()
    if not result.valid:
        raise _unfit("the run is INVALID")
    if result.proposal is None:
        met = "the golden images of no model file pass on a runtime here"
        raise LimiarError("E-BENCH-UNFIT", f"no profile was kept, since {met}: see `limiar verify`")
    best, runner_up = _of(result, result.proposal.best), result.proposal.runner_up
    if best.whole is None or best.whole.p50_us is None:
        raise _unfit(f"{counted(best.invoke.count, 'call')} are too few for a median")
    return save_profile(
        state,
        Profile(
            bundle=result.bundle,
            name=result.name,
            version=result.version,
            file=best.file,
            runtime=best.runtime,
            runtime_version=best.version,
            threads=best.threads,
            p50_us=best.whole.p50_us,
            runner_up=_runner_up(_of(result, runner_up)) if runner_up else None,
            measured=result.time,
            app=result.app,
            machine=Hardware.here(),
        ),
    )


def _unfit(met: str) -> LimiarError:
    return LimiarError("E-BENCH-UNFIT", f"no profile was kept, since {met}: measure again on a board at rest")


def _of(result: BenchResult, variant: Variant) -> Measurement:
    return next(one for one in result.measurements if Variant(one.file, one.runtime, one.threads) == variant)


def _runner_up(one: Measurement) -> RunnerUp | None:
    return RunnerUp(one.file, one.runtime, one.threads, one.whole.p50_us) if one.whole and one.whole.p50_us else None
