"""Latency, start-up and memory of a bundle's model files on the runtimes installed here.

All variants (model file x runtime x threads) run in one process, a block of calls at a time, in an order that is shuffled
for every round: if something slows the machine down for a while, all variants suffer alike, and the spread between rounds
shows it.
Start-up and memory come from fresh processes.
"""

import io
import itertools
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import msgspec
import numpy as np
from msgspec import Struct
from PIL import Image

from limiar.edge_app import APP
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bench.start import Start
from limiar.edge_app.bench.timing import BEYOND, Latency, Tell, interleaved, silent
from limiar.edge_app.bundle.manifest import GOLDEN, InputSpec
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.errors import RuntimeUnavailable, printable
from limiar.edge_app.image.read import decode
from limiar.edge_app.image.resize import model_input
from limiar.edge_app.inference.classifier import Classifier
from limiar.edge_app.inference.golden import golden_tensors
from limiar.edge_app.inference.model_check import run_model
from limiar.edge_app.inference.verified import VerifiedBy, verified_by
from limiar.edge_app.runtimes import RUNTIMES, Runtime, installed_runtimes, open_runtime
from limiar.edge_app.system.clock import utc_now
from limiar.edge_app.system.machine import Condition, Machine, condition, machine
from limiar.edge_app.system.python import python_m

if TYPE_CHECKING:
    from limiar.edge_app.bundle.signature import Keys

_STARTS = 5  # fresh processes for each variant; the median counts
_START_S = 120.0  # for one of them
_IMAGE_SIDE_PX = 128  # of the image that is answered; decoding a larger one would hide the model's share
_NOISE_LEVELS = 4.0  # standard deviation of the noise in the sample picture
_SPREAD = 0.2  # if the medians of rounds differ by more, the machine was busy


class Variant(Struct, frozen=True):
    """One thing to measure: a model file on a runtime with so many threads."""

    file: str
    runtime: str
    threads: int


class Measurement(Struct, frozen=True):
    """The figures of a variant."""

    file: str
    runtime: str
    version: str
    threads: int
    verified: VerifiedBy | Literal["no"]  # no: `limiar scan` would run the golden images first
    bytes: int  # of the model file
    invoke: Latency  # from model input to logits
    whole: Latency  # from the bytes of a PNG to the answer
    start: Start  # the median of each of its figures


class Skipped(Struct, frozen=True):
    """A variant that does not start here, and why."""

    file: str
    runtime: str
    threads: int
    message: str


class BenchResult(Struct, frozen=True, kw_only=True):
    """The outcome, as `--json` writes it."""

    schema: int = 1
    app: str
    time: str  # UTC
    bundle: str  # sha256 of the manifest
    name: str
    version: str
    seed: int  # of the order
    beyond: int = BEYOND
    starts: int  # fresh processes for each variant
    inputs: int  # different model inputs for `invoke`
    image: str  # for `whole`
    machine: Machine
    before: Condition
    after: Condition
    notes: tuple[str, ...]  # why the figures are doubtful
    measurements: tuple[Measurement, ...]
    skipped: tuple[Skipped, ...]


def bench(
    bundle: "Bundle | Path | str",
    *,
    files: Sequence[str] = (),
    runtimes: Sequence[str] = (),
    threads: Sequence[int] = (1,),
    count: int = 1000,
    seed: int = 0,
    keys: "Keys | None" = None,
    progress: Tell = silent,
) -> BenchResult:
    """Measures latency (microseconds), start-up (milliseconds) and memory (MiB) of model files on the runtimes installed here.

        result = limiar.bench("models/lung-nodule", files=["tflite_int8"], threads=[1, 2])
        for one in result.measurements:
            print(one.file, one.runtime, one.threads, one.invoke.p50_us, one.whole.p50_us, one.start.peak_mb)

    files, runtimes: names; none: all of the bundle, all that are installed. threads: of inference, each number in turn.
    count: calls of each variant; 1000 give p99. seed: of the order in which variants take turns.
    keys: one of these must have signed the bundle; None: no signature is asked for. An opened bundle was checked already.
    progress: told what is being measured, how many of it are done, and of how many.

    A variant that does not start is in `skipped`, with the reason. Raises BundleError, and RuntimeUnavailable if none starts.
    """
    bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle, keys)
    before = condition()
    png = sample_png()
    started = _started(bundle, _variants(bundle, files, runtimes, threads), png, progress)
    skipped = [Skipped(one.file, one.runtime, one.threads, met) for one, met in started.items() if isinstance(met, str)]
    starts = {variant: start for variant, start in started.items() if isinstance(start, Start)}
    if not starts:
        none = "none of these runtimes reads these files" if runtimes else "no runtime for its files is installed"
        met = skipped[0].message if skipped else none
        raise RuntimeUnavailable(
            "E-BENCH-NOTHING", f"{printable(str(bundle.path))}: nothing runs here ({met}): see `limiar doctor`"
        )
    tensors = _inputs(bundle, png)
    invokes, wholes = _timed(bundle, list(starts), tensors, png, count, seed, progress)
    measurements = tuple(
        Measurement(
            variant.file,
            variant.runtime,
            start.version,
            variant.threads,
            verified_by(bundle, bundle.model(variant.file)[0], variant.runtime, start.version) or "no",
            len(bundle.model(variant.file)[1]),
            invokes[variant],
            wholes[variant],
            start,
        )
        for variant, start in starts.items()
    )
    here, after = machine(), condition()
    return BenchResult(
        app=APP,
        time=utc_now(),
        bundle=bundle.sha256,
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        seed=seed,
        starts=_STARTS,
        inputs=len(tensors),
        image=f"PNG, {_IMAGE_SIDE_PX}x{_IMAGE_SIDE_PX}, RGB, {len(png)} bytes",
        machine=here,
        before=before,
        after=after,
        notes=tuple(_notes(here, before, after, measurements)),
        measurements=measurements,
        skipped=tuple(skipped),
    )


def measure_invoke(
    models: Mapping[str, tuple[bytes, str]], spec: InputSpec, threads: int = 1, count: int = 1000, seed: int = 0
) -> dict[str, Latency]:
    """The latency of models that are not in a bundle yet: name -> (bytes, runtime) gives name -> latency, interleaved.

    Used by convert, which writes it beside the bundle: `measure_invoke({"tflite_int8": (model, "litert")}, manifest.input)`.
    Raises RuntimeUnavailable.
    """
    tensor = model_input(decode(sample_png()), spec)
    opened = {name: open_runtime(runtime, model, threads) for name, (model, runtime) in models.items()}
    return interleaved({name: _invoke(runtime, [tensor]) for name, runtime in opened.items()}, count, seed)


def sample_png() -> bytes:
    """A picture like a camera's: soft blobs of colour under sensor noise; the same on every machine."""
    rng = np.random.default_rng(20260101)
    coarse = rng.integers(0, 256, (6, 6, 3), np.uint8)
    soft = cv2.resize(coarse, (_IMAGE_SIDE_PX, _IMAGE_SIDE_PX), interpolation=cv2.INTER_LINEAR_EXACT)
    noisy = np.clip(soft + rng.normal(0, _NOISE_LEVELS, soft.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "PNG")
    return file.getvalue()


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


def _started(bundle: Bundle, variants: Sequence[Variant], png: bytes, progress: Tell) -> dict[Variant, Start | str]:
    """Starts each variant in fresh processes, in turn; returns the medians, or why it does not start.

    A file that crashes its runtime ends only that process, and is never loaded here.
    """
    found: dict[Variant, list[Start]] = {variant: [] for variant in variants}
    failed: dict[Variant, str] = {}
    for number, (_, variant) in enumerate(itertools.product(range(_STARTS), variants)):
        progress("starts", number, _STARTS * len(variants))
        if variant not in failed:
            start = _start(bundle, variant, png)
            if isinstance(start, Start):
                found[variant].append(start)
            else:
                failed[variant] = start
    return {variant: failed.get(variant) or _median(found[variant]) for variant in variants}


def _start(bundle: Bundle, variant: Variant, png: bytes) -> Start | str:
    which = (str(bundle.path), bundle.sha256, variant.file, variant.runtime, str(variant.threads))
    command = python_m("limiar.edge_app.bench.start", *which)
    try:
        done = subprocess.run(
            [*command, str(time.monotonic_ns())], input=png, capture_output=True, timeout=_START_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"took over {_START_S:.0f} s to start"
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return said[-1] if said and done.returncode > 0 else f"its process ended with {done.returncode}"
    return msgspec.json.decode(done.stdout, type=Start)


def _median(starts: Sequence[Start]) -> Start:
    load, ready, answered, peak = (
        round(statistics.median(figure), 3)
        for figure in zip(*((start.load_ms, start.ready_ms, start.answered_ms, start.peak_mb) for start in starts), strict=True)
    )
    return Start(starts[0].version, load, ready, answered, peak)


def _inputs(bundle: Bundle, png: bytes) -> list[Pixels]:
    """Model inputs: the bundle's golden images that can be read; if there are none, the sample."""
    golden = any(file.path == GOLDEN for file in bundle.manifest.files)
    tensors = [tensor for tensor in golden_tensors(bundle).tensors if tensor is not None] if golden else []
    return tensors or [model_input(decode(png), bundle.manifest.input)]


def _timed(
    bundle: Bundle,
    variants: Iterable[Variant],
    tensors: Sequence[Pixels],
    png: bytes,
    count: int,
    seed: int,
    progress: Tell,
) -> tuple[dict[Variant, Latency], dict[Variant, Latency]]:
    """`invoke` and `whole` of each variant, all interleaved."""
    calls: dict[tuple[Variant, str], Callable[[], object]] = {}
    for variant in variants:
        model, data = bundle.model(variant.file)
        runtime = open_runtime(variant.runtime, data, variant.threads)
        manifest = bundle.manifest
        classifier = Classifier(runtime, manifest.labels, manifest.input, model.decision, manifest.envelope, "ignore")
        calls[variant, "invoke"] = _invoke(runtime, tensors)
        calls[variant, "whole"] = _whole(classifier, png)
    found = interleaved(calls, count, seed, progress)
    invokes = {variant: figures for (variant, what), figures in found.items() if what == "invoke"}
    return invokes, {variant: figures for (variant, what), figures in found.items() if what == "whole"}


def _invoke(runtime: Runtime, tensors: Sequence[Pixels]) -> Callable[[], object]:
    following = itertools.cycle(tensors).__next__
    return lambda: run_model(runtime, following())


def _whole(classifier: Classifier, png: bytes) -> Callable[[], object]:
    return lambda: classifier.answer(decode(png))


def _notes(here: Machine, before: Condition, after: Condition, measurements: Iterable[Measurement]) -> Iterable[str]:
    """Why the figures are doubtful."""
    if before.load_1min > here.cores / 2:
        yield f"the machine was busy before: load {before.load_1min} on {here.cores} cores"
    if before.governor not in (None, "performance"):
        yield f"the clock governor is {before.governor}, not performance: short work runs at a low clock rate"
    if after.throttled not in (None, "0x0", "0"):
        yield f"the board has throttled since boot: flags {after.throttled}"
    moved = [one for one in measurements if _spread(one.invoke) > _SPREAD]
    if moved:
        worst = max(moved, key=lambda one: _spread(one.invoke))
        met = f"{worst.file} on {worst.runtime} by {_spread(worst.invoke):.0%}"
        yield f"the medians of rounds differ, {met}: close other programs and measure again"


def _spread(latency: Latency) -> float:
    """How far apart the medians of rounds are, as a share of the lowest."""
    return (latency.round_high_us - latency.round_low_us) / latency.round_low_us
