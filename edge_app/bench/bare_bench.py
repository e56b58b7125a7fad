"""`limiar bench MODEL`: a model file without a bundle, on every runtime that reads it.

Nothing is known of what it takes or gives, so only its inference is measured. It is a stranger's: this process never loads it.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from limiar.edge_app import APP
from limiar.edge_app.bench.bare import read_model
from limiar.edge_app.bench.installed import installed
from limiar.edge_app.bench.measurements import measurement, notes_of, ratios_of
from limiar.edge_app.bench.plan import Plan, Preset, shares
from limiar.edge_app.bench.processes import run_repeat
from limiar.edge_app.bench.profiling import Profiles
from limiar.edge_app.bench.profiling import profile as look_into
from limiar.edge_app.bench.result import BenchResult, Variant
from limiar.edge_app.bench.starts import Subject, start_all
from limiar.edge_app.bench.timing import Tell, latency
from limiar.edge_app.errors import printable
from limiar.edge_app.runtimes import RUNTIMES, check_known, installed_runtimes
from limiar.edge_app.system.board import Board
from limiar.edge_app.system.clock import utc_now
from limiar.edge_app.system.emulation import emulated
from limiar.edge_app.system.machine import condition, machine
from limiar.edge_app.system.recorder import Recorder
from limiar.edge_app.system.verdict import verdict

_STARTED_BY = "limiar.edge_app.bench.bare_start"


def bench_model(
    path: Path | str,
    runtimes: Sequence[str],
    threads: Sequence[int],
    preset: str,
    chosen: Preset,
    seed: int,
    profile: bool,
    progress: Tell,
) -> BenchResult:
    """As bench() does: invoke (us), start-up (ms) and memory (MiB). chosen: how much to measure; preset: its name.

    Raises RuntimeUnavailable: the file cannot be read, no variant starts, or one takes the measuring process with it.
    """
    format, data = read_model(path)
    sha256, name = hashlib.sha256(data).hexdigest(), printable(Path(path).name)
    for runtime in runtimes:
        check_known(runtime)
    variants = [
        Variant(name, runtime, count)
        for runtime in runtimes or [found.name for found in installed_runtimes(format)]
        if RUNTIMES[runtime].format == format
        for count in threads
    ]
    before, recorder = condition(), Recorder(Board())
    subject = Subject(str(path), sha256, _STARTED_BY)
    starts, skipped = start_all(subject, variants, b"", chosen.starts, progress)
    measured = [
        run_repeat(
            Plan(
                bare=True,
                bundle=str(path),
                sha256=sha256,
                variants=tuple(starts),
                images=(),
                store=None,
                count=count,
                seconds=chosen.seconds / chosen.processes,
                rate_hz=None,
                arrivals=0,
                seed=seed + number,
            ),
            recorder.poll,
            progress,
        )
        for number, count in enumerate(shares(chosen.count, chosen.processes))
    ]
    recorder.finish()
    judged = verdict(recorder.timeline, emulated())
    by_variant = {variant: [one.taken[place] for one in measured] for place, variant in enumerate(starts)}
    measurements = tuple(
        measurement(variant, starts[variant], taken, chosen, size=len(data)) for variant, taken in by_variant.items()
    )
    profiled = look_into(subject, True, measurements, progress) if profile else Profiles(measurements, (), ())
    return BenchResult(
        kind="model",
        app=APP,
        time=utc_now(),
        bundle=sha256,
        name=name,
        version="",
        seed=seed,
        starts=chosen.starts,
        inputs=measured[0].images,
        image=measured[0].filled,
        machine=machine(),
        before=before,
        after=condition(),
        notes=(*judged.warnings, *notes_of(measurements, measured), *measured[0].notes, *profiled.notes),
        measurements=profiled.measurements,
        peaks=profiled.peaks,
        skipped=tuple(skipped),
        preset=preset,
        processes=chosen.processes,
        valid=judged.valid,
        invalid=judged.invalid,
        yardstick=latency([one.yardstick for one in measured], keep=True),
        timeline=recorder.timeline,
        installed=installed(variant.runtime for variant in starts),
        ratios=ratios_of(by_variant, name, seed),
    )
