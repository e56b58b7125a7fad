"""The parent's side of `limiar bench --profile`: what each model file asks for, and what share of the peak it reaches."""

import os
import subprocess
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from limiar.edge_app.bench.operators import estimated
from limiar.edge_app.bench.profiled import Climb, Look, Seen
from limiar.edge_app.bench.result import Measurement, titled
from limiar.edge_app.bench.roofline import Peak
from limiar.edge_app.bench.starts import Subject
from limiar.edge_app.bench.timing import Tell
from limiar.edge_app.bench.work import Work
from limiar.edge_app.errors import printable
from limiar.edge_app.system.python import python_m

Found = TypeVar("Found", Seen, Peak)

_MOST_S = 180.0  # for one of them


class Profiles(Struct, frozen=True):
    """What was found."""

    measurements: tuple[Measurement, ...]
    peaks: tuple[Peak, ...]
    notes: tuple[str, ...]  # why something is missing


def profile(subject: Subject, bare: bool, measurements: Sequence[Measurement], progress: Tell) -> Profiles:
    """Looks into each model file in a process of its own, and measures each peak that it is compared with.

    bare: the subject is a model file. Nothing here is an error: what cannot be found is missing, and a note says why.
    """
    seen, peaks, notes = list[Measurement](), dict[Climb, Peak | None](), list[str]()
    for number, one in enumerate(measurements):
        progress("profiles", number, len(measurements))
        look = Look(subject.path, subject.sha256, bare, one.file, one.runtime, one.threads)
        found = _asked(look, Seen)
        if isinstance(found, str):
            notes.append(f"{titled(one)} was not profiled: {found}")
            seen.append(one)
            continue
        if found.work.macs and (climb := _climb(found.work, one)) not in peaks:
            peak = _asked(climb, Peak)
            peaks[climb] = None if isinstance(peak, str) else peak
            if isinstance(peak, str):
                notes.append(f"the peak of {climb.precision} on {climb.runtime} was not measured: {peak}")
        operators = found.operators or estimated(found.steps, one.invoke.p50_us)
        work = _reached(found.work, one, peaks.get(_climb(found.work, one)))
        seen.append(replace(one, work=work, operators=operators))
    return Profiles(tuple(seen), tuple(filter(None, peaks.values())), tuple(notes))


def _climb(work: Work, one: Measurement) -> Climb:
    return Climb("int8" if work.weights == "int8" else "fp32", one.runtime, one.threads)


def _reached(work: Work, one: Measurement, peak: Peak | None) -> Work:
    if not work.macs or not one.invoke.p50_us:
        return work
    speed = work.macs / one.invoke.p50_us / 1000
    return replace(work, gmacs_per_s=round(speed, 3), peak_share=round(speed / peak.gmacs_per_s, 4) if peak else None)


def _asked(what: Look | Climb, found: type[Found]) -> Found | str:
    """What a fresh process finds, or why it does not."""
    command = python_m("limiar.edge_app.bench.profiled", str(os.getpid()))
    try:
        done = subprocess.run(command, input=msgspec.json.encode(what), capture_output=True, timeout=_MOST_S, check=False)
    except subprocess.TimeoutExpired:
        return f"it took over {_MOST_S:.0f} s"
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return printable(said[-1]) if said and done.returncode > 0 else f"its process ended with {done.returncode}"
    try:
        return msgspec.json.decode(done.stdout, type=found)
    except msgspec.MsgspecError:  # a runtime may print what it likes
        return "its process wrote something else than what it found"
