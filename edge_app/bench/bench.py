"""`limiar bench`: latency, start-up and memory of a bundle's model files on the runtimes installed here.

This process loads no model and is not measured: it starts each variant in fresh processes (starts.py), then runs a few repeat
processes one after another (repeat.py), in each of which all variants take turns, and watches the board meanwhile. So what
slows the machine down for a while hits all variants alike, the spread between rounds shows it, and the spread between processes
is what to expect between two runs.
"""

import contextlib
import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import UnsetType

from limiar.edge_app import APP
from limiar.edge_app.bench.choose import Candidate, choose
from limiar.edge_app.bench.loops import WarmUp
from limiar.edge_app.bench.plan import PRESETS, Plan, Preset, resolve, shares
from limiar.edge_app.bench.processes import run_repeat
from limiar.edge_app.bench.repeat import Measured, Taken
from limiar.edge_app.bench.result import BenchResult, Measurement, OpenLoop, Skipped, Variant
from limiar.edge_app.bench.sample import SIDE_PX, sample_png
from limiar.edge_app.bench.start import Start
from limiar.edge_app.bench.starts import start_all
from limiar.edge_app.bench.timing import Latency, Rounds, Tell, latency, silent
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.errors import ImageError, RuntimeUnavailable, StoreError, printable
from limiar.edge_app.image.folder import walk
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.inference.verified import verified_by
from limiar.edge_app.runtimes import RUNTIMES, installed_runtimes, open_runtime
from limiar.edge_app.store.state import state_folder
from limiar.edge_app.system.board import Board
from limiar.edge_app.system.clock import utc_now
from limiar.edge_app.system.emulation import emulated
from limiar.edge_app.system.machine import condition, machine
from limiar.edge_app.system.recorder import Recorder
from limiar.edge_app.system.verdict import verdict
from limiar.edge_app.text import counted

if TYPE_CHECKING:
    from limiar.edge_app.bundle.signature import Keys

_WHOLE = ("decode", "resize", "invoke", "decide")
_MOST_IMAGES = 1000  # of a folder, in name order
_OPEN_S = 60.0  # of the open loop, for each variant
_SPREAD = 0.2  # if the medians of rounds differ by more, the machine was busy


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
    keys: one of these must have signed the bundle; None: no signature is asked for. An opened bundle was checked already.
    progress: told what is being measured, how many of it are done, and of how many.

    A variant that does not start is in `skipped`, with the reason. Raises BundleError, ImageError if no image can be read, and
    RuntimeUnavailable if no variant starts, or if one takes the measuring process with it.
    """
    bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle, keys)
    chosen = resolve(PRESETS[preset], count, seconds)
    variants = _variants(bundle, files, runtimes, threads)
    before, recorder = condition(), Recorder(Board())
    with _folder() as folder:
        paths, image = _images(images, folder)
        first = _first(paths, bundle.manifest.input.grey_max) if paths else sample_png()
        started = start_all(bundle, variants, first, chosen.starts, progress)
        starts = {variant: start for variant, start in started.items() if isinstance(start, Start)}
        skipped = [Skipped(one.file, one.runtime, one.threads, met) for one, met in started.items() if isinstance(met, str)]
        if not starts:
            none = "none of these runtimes reads these files" if runtimes else "no runtime for its files is installed"
            met = skipped[0].message if skipped else none
            raise RuntimeUnavailable(
                "E-BENCH-NOTHING", f"{printable(str(bundle.path))}: nothing runs here ({met}): see `limiar doctor`"
            )
        arrivals = round((seconds or _OPEN_S) * rate_hz) if rate_hz else 0
        measured = [
            run_repeat(plan, recorder.poll, progress)
            for plan in _plans(bundle, list(starts), paths, folder, chosen, rate_hz, arrivals, seed)
        ]
    recorder.finish()
    judged = verdict(recorder.timeline, emulated())
    measurements = tuple(
        _measurement(bundle, variant, start, [one.taken[place] for one in measured], chosen, rate_hz, arrivals)
        for place, (variant, start) in enumerate(starts.items())
    )
    wholes = [_rounds([one.taken[place] for one in measured]) for place in range(len(starts))]
    candidates = {
        variant: Candidate(whole, one.whole.p50_us or float("inf"), one.bytes)
        for variant, whole, one in zip(starts, wholes, measurements, strict=True)
        if one.verified != "no"
    }
    return BenchResult(
        app=APP,
        time=utc_now(),
        bundle=bundle.sha256,
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        seed=seed,
        starts=chosen.starts,
        inputs=measured[0].images,
        image=image,
        machine=machine(),
        before=before,
        after=condition(),
        notes=(*judged.warnings, *_notes(measurements, measured)),
        measurements=measurements,
        skipped=tuple(skipped),
        preset=preset,
        processes=chosen.processes,
        valid=judged.valid,
        invalid=judged.invalid,
        yardstick=latency([one.yardstick for one in measured], keep=True),
        timeline=recorder.timeline,
        unread=tuple(measured[0].unread),
        proposal=choose(candidates, bundle.model(None)[0].name, seed),
    )


def _variants(bundle: Bundle, files: Sequence[str], runtimes: Sequence[str], threads: Sequence[int]) -> list[Variant]:
    """Every file on every runtime that reads it and is installed or was named. Raises BundleError and RuntimeUnavailable."""
    for name in runtimes:
        if name not in RUNTIMES:
            open_runtime(name, b"")  # raises, and names the known ones
    models = [bundle.model(name)[0] for name in files or bundle.manifest.models]
    return [
        Variant(model.name, runtime, count)
        for model in models
        for runtime in runtimes or [found.name for found in installed_runtimes(model.format)]
        if RUNTIMES[runtime].format == model.format
        for count in threads
    ]


@contextlib.contextmanager
def _folder() -> Iterator[Path | None]:
    """A folder that is thrown away, on the disk that keeps results if it can be: what a commit costs depends on the disk.

    None: nothing can be written.
    """
    with contextlib.ExitStack() as made:
        yield _made(made)


def _made(made: contextlib.ExitStack) -> Path | None:
    with contextlib.suppress(OSError, StoreError):
        place = state_folder()
        place.mkdir(parents=True, exist_ok=True)
        return Path(made.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=place)))
    with contextlib.suppress(OSError):
        return Path(made.enter_context(tempfile.TemporaryDirectory(prefix="limiar-bench-")))
    return None


def _images(images: "Sequence[Path | str]", folder: Path | None) -> tuple[tuple[str, ...], str]:
    """The files to answer, and what they are; none: a sample for which there is no place. Raises ImageError: there are none."""
    if not images:
        png = sample_png()
        if folder:
            (folder / "sample.png").write_bytes(png)
        sample = (str(folder / "sample.png"),) if folder else ()
        return sample, f"PNG, {SIDE_PX}x{SIDE_PX}, RGB, {len(png)} bytes"
    paths = list[str]()
    for given in images:
        if os.path.isdir(given):
            paths += [os.fsdecode(found.path) for found in walk(os.fsencode(given)) if not (found.kind or found.is_folder)]
        else:
            paths.append(str(given))
    if not paths:
        where = printable(str(images[0]))
        raise ImageError("E-IMAGE-MISSING", f"{where}: a folder without images: give one with some")
    return tuple(paths[:_MOST_IMAGES]), f"{counted(min(len(paths), _MOST_IMAGES), 'image')}, the first {printable(paths[0])}"


def _first(paths: Sequence[str], grey_max: int | UnsetType) -> bytes:
    """The bytes of the first file that is an image. Raises ImageError: none is."""
    for path in paths:
        try:
            data = read_file(path, follow=True)
            decode(data, path, grey_max)
        except ImageError as error:
            if path == paths[-1]:
                raise ImageError(error.code, f"{printable(path)}: {error.message}") from None
        else:
            return data
    raise AssertionError("there is at least one path")


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


def _measurement(
    bundle: Bundle,
    variant: Variant,
    start: Start,
    taken: Sequence[Taken],
    chosen: Preset,
    rate_hz: float | None,
    planned: int,
) -> Measurement:
    model, data = bundle.model(variant.file)

    def found(processes: Sequence[Rounds]) -> Latency:
        return latency(processes, keep=True, early_stopping=chosen.early_stopping)

    by_name = {name: [one.stages[name] for one in taken] for name in taken[0].stages}
    opened = None
    if rate_hz is not None:
        arrived = found([[one.arrivals] for one in taken])
        opened = OpenLoop(rate_hz, planned, sum(one.late for one in taken), arrived)
    return Measurement(
        file=variant.file,
        runtime=variant.runtime,
        version=start.version,
        threads=variant.threads,
        verified=verified_by(bundle, model, variant.runtime, start.version) or "no",
        bytes=len(data),
        invoke=found([one.invoke for one in taken]),
        whole=latency(_sums([by_name[name] for name in _WHOLE])),
        start=start,
        stages={name: found(processes) for name, processes in by_name.items()},
        total=latency(_sums(list(by_name.values())), early_stopping=chosen.early_stopping),
        warm_up=_longest([one.warm_up for one in taken]),
        open_loop=opened,
    )


def _rounds(taken: Sequence[Taken]) -> list[list[int]]:
    """The rounds of all processes: nanoseconds from the bytes of an image to its answer."""
    return [block for rounds in _sums([[one.stages[name] for one in taken] for name in _WHOLE]) for block in rounds]


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


def _notes(measurements: Sequence[Measurement], measured: Sequence[Measured]) -> Iterator[str]:
    """Why the figures are doubtful, besides what the board did."""
    worst = max(measurements, key=lambda one: _spread(one.invoke))
    if _spread(worst.invoke) > _SPREAD:
        met = f"{worst.file} on {worst.runtime} by {_spread(worst.invoke):.0%}"
        yield f"the medians of rounds differ, {met}: close other programs and measure again"
    for one in measurements:
        where = f"{one.file} on {one.runtime}, {counted(one.threads, 'thread')}"
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
