"""`limiar bench`: latency, start-up and memory of a bundle's model files on the runtimes installed here.

This process loads no model and is not measured: it starts each variant in fresh processes (starts.py), then runs a few repeat
processes one after another (repeat.py), in each of which all variants take turns, and watches the board meanwhile. So what
slows the machine down for a while hits all variants alike, the spread between rounds shows it, and the spread between processes
is what to expect between two runs.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from limiar.edge_app import APP
from limiar.edge_app.bench.bare import is_model
from limiar.edge_app.bench.bare_bench import bench_model
from limiar.edge_app.bench.choose import propose
from limiar.edge_app.bench.energy import measure_energy
from limiar.edge_app.bench.images import described, first_image, listed_images
from limiar.edge_app.bench.installed import installed
from limiar.edge_app.bench.measurements import measurement, notes_of, ratios_of, whole_rounds
from limiar.edge_app.bench.plan import PRESETS, Plan, Preset, arrivals, resolve, shares
from limiar.edge_app.bench.processes import run_repeat
from limiar.edge_app.bench.profiling import Profiles
from limiar.edge_app.bench.profiling import profile as look_into
from limiar.edge_app.bench.result import BenchResult, Variant
from limiar.edge_app.bench.sample import sample_png
from limiar.edge_app.bench.scratch import scratch_folder
from limiar.edge_app.bench.starts import Subject, start_all
from limiar.edge_app.bench.timing import Tell, latency, silent
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.inference.verified import verified_by
from limiar.edge_app.runtimes import RUNTIMES, check_known, installed_runtimes
from limiar.edge_app.system.board import Board
from limiar.edge_app.system.clock import utc_now
from limiar.edge_app.system.emulation import emulated
from limiar.edge_app.system.machine import condition, machine
from limiar.edge_app.system.recorder import Recorder
from limiar.edge_app.system.verdict import verdict

if TYPE_CHECKING:
    from limiar.edge_app.bundle.signature import Keys


def bench(
    bundle: "Bundle | Path | str",
    *,
    files: Sequence[str] = (),
    runtimes: Sequence[str] = (),
    threads: Sequence[int] = (1,),
    images: "Sequence[Path | str]" = (),
    rate_hz: float | None = None,
    seconds: float | None = None,
    preset: str = "normal",
    count: int | None = None,
    seed: int = 0,
    verify: bool = False,
    profile: bool = False,
    keys: "Keys | None" = None,
    progress: Tell = silent,
) -> BenchResult:
    """Measures latency (microseconds), start-up (milliseconds) and memory (MiB) of model files on the runtimes installed here.

        result = limiar.bench("models/lung-nodule", files=["tflite_int8"], threads=[1, 2], preset="quick")
        for one in result.measurements:
            print(one.file, one.runtime, one.threads, one.invoke.p50_us, one.stages["decode"].p50_us, one.start.peak_mb)

    files, runtimes: names; none: all of the bundle, all that are installed. threads: of inference, each number in turn.
    images: files and folders that are answered; none: a sample. rate_hz: adds the open loop, in which images arrive so often.
    seconds: of each variant and loop; count: calls of each variant; otherwise the preset's: a key of PRESETS.
    seed: of the order in which variants take turns.
    verify: run the golden images of the fastest if it was not verified here; if they do not pass, the next one is proposed.
    profile: also look into the model files: operators, multiply-accumulates, memory, the share of this processor's peak.
    keys: one of these must have signed the bundle; None: no signature is asked for. An opened bundle was checked already.
    progress: told what is being measured, how many of it are done, and of how many.
    bundle may also be a .tflite or .onnx file of any kind: then only its inference is measured, with random inputs,
    and what needs a bundle (files, images, rate_hz, verify, keys) raises ValueError.

    A variant that does not start is in `skipped`, with the reason. Raises BundleError, ImageError if no image can be read, and
    RuntimeUnavailable if no variant starts, or if one takes the measuring process with it; ValueError: no image is due.
    """
    if not isinstance(bundle, Bundle) and is_model(bundle):
        if files or images or rate_hz is not None or verify or keys:
            raise ValueError("files, images, rate_hz, verify and keys need a bundle")
        return bench_model(bundle, runtimes, threads, preset, resolve(PRESETS[preset], count, seconds), seed, profile, progress)
    bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle, keys)
    chosen, due = resolve(PRESETS[preset], count, seconds), arrivals(rate_hz, seconds)
    variants = _variants(bundle, files, runtimes, threads)
    subject = Subject(str(bundle.path), bundle.sha256)
    before, recorder = condition(), Recorder(Board())
    with scratch_folder() as folder:
        paths = listed_images(images, folder)
        first = first_image(paths, bundle.manifest.input) if paths else sample_png()
        starts, skipped = start_all(subject, variants, first, chosen.starts, progress)
        measured = [
            run_repeat(plan, recorder.poll, progress)
            for plan in _plans(bundle, list(starts), paths, folder, chosen, rate_hz, due, seed)
        ]
    metered = measure_energy(bundle, list(starts), chosen.energy_s, recorder.poll, progress)
    recorder.finish()
    judged = verdict(recorder.timeline, emulated())
    by_variant = {variant: [one.taken[place] for one in measured] for place, variant in enumerate(starts)}
    measurements = tuple(
        measurement(
            variant,
            starts[variant],
            taken,
            chosen,
            size=len(bundle.model(variant.file)[1]),
            verified=verified_by(bundle, bundle.model(variant.file)[0], variant.runtime, starts[variant].version) or "no",
            rate_hz=rate_hz,
            planned=due,
            energy=metered.energy.get(variant),
        )
        for variant, taken in by_variant.items()
    )
    found = propose(bundle, measurements, [*map(whole_rounds, by_variant.values())], seed, verify and judged.valid)
    profiled = look_into(subject, False, found.measurements, progress) if profile else Profiles(found.measurements, (), ())
    return BenchResult(
        app=APP,
        time=utc_now(),
        bundle=bundle.sha256,
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        seed=seed,
        starts=chosen.starts,
        inputs=measured[0].images,
        image=described(bool(images), paths, measured[0].unread),
        machine=machine(),
        before=before,
        after=condition(),
        notes=(*judged.warnings, *notes_of(measurements, measured), *metered.notes, *found.notes, *profiled.notes),
        measurements=profiled.measurements,
        peaks=profiled.peaks,
        skipped=tuple(skipped),
        preset=preset,
        processes=chosen.processes,
        valid=judged.valid,
        invalid=judged.invalid,
        yardstick=latency([one.yardstick for one in measured], keep=True),
        timeline=recorder.timeline,
        unread=tuple(measured[0].unread),
        proposal=found.proposal,
        energy=metered.metering,
        installed=installed(variant.runtime for variant in starts),
        ratios=ratios_of(by_variant, bundle.model(None)[0].name, seed),
    )


def _variants(bundle: Bundle, files: Sequence[str], runtimes: Sequence[str], threads: Sequence[int]) -> list[Variant]:
    """Every file on every runtime that reads it and is installed or was named. Raises BundleError and RuntimeUnavailable."""
    for name in runtimes:
        check_known(name)
    models = [bundle.model(name)[0] for name in files or bundle.manifest.models]
    return [
        Variant(model.name, runtime, count)
        for model in models
        for runtime in runtimes or [found.name for found in installed_runtimes(model.format)]
        if RUNTIMES[runtime].format == model.format
        for count in threads
    ]


def _plans(
    bundle: Bundle,
    variants: Sequence[Variant],
    paths: tuple[str, ...],
    folder: Path | None,
    chosen: Preset,
    rate_hz: float | None,
    arrivals: int,
    seed: int,
) -> Iterator[Plan]:
    """One for each repeat process."""
    counts = shares(chosen.count, chosen.processes)
    for number, (count, images) in enumerate(zip(counts, shares(arrivals, chosen.processes), strict=True)):
        yield Plan(
            bundle=str(bundle.path),
            sha256=bundle.sha256,
            variants=tuple(variants),
            images=paths,
            store=str(folder / f"results-{number}.db") if folder else None,
            count=count,
            seconds=chosen.seconds / chosen.processes,
            rate_hz=rate_hz,
            arrivals=images,
            seed=seed + number,
        )
