"""A model file is tried before the first image: one invocation says whether it is what its manifest says.

A file that is whole and rightly hashed may still be another model: of another input, with other outputs, one that gives no
numbers, crashes or never ends. So this belongs in a process that may be lost: a worker, or a child of `limiar verify`.
"""

import numpy as np

from limiar.edge_app.arrays import Logits, Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ModelUnfit, printable
from limiar.edge_app.inference.job import Job
from limiar.edge_app.runtimes import Runtime, open_preferred
from limiar.edge_app.text import counted


def open_checked(job: Job) -> Runtime:
    """Loads a job's model file and invokes it once. Raises RuntimeUnavailable, and ModelUnfit where the file is at fault."""
    try:
        runtime = open_preferred(job.format, job.model, job.runtime, job.threads)
        check_model(runtime, len(job.labels), job.input)
    except ModelUnfit as error:
        raise ModelUnfit(error.code, f"{job.name}: {error.message}") from None
    return runtime


def check_model(runtime: Runtime, labels: int, spec: InputSpec) -> None:
    """Raises ModelUnfit: the loaded model file fails, or does not give a finite number for each label."""
    logits = np.asarray(_run(runtime, _ramp(spec), f"does not take {spec.height}x{spec.width}x{spec.channels} pixels"))
    if logits.ndim != 1:
        raise _unfit(f"gives an array of {'x'.join(map(str, logits.shape))} in place of a number for each label")
    if logits.shape != (labels,):
        raise _unfit(f"gives {counted(logits.size, 'number')} for {labels} labels")
    if not np.isfinite(logits).all():
        raise _unfit("gives NaN or infinity")


def run_model(runtime: Runtime, image: Pixels) -> Logits:
    """Runtime.logits of an image. Raises ModelUnfit where it fails, though the model took the one that it was tried with."""
    return _run(runtime, image, "took one image and fails over another")


def _run(runtime: Runtime, image: Pixels, met: str) -> Logits:
    try:
        return runtime.logits(image)
    except MemoryError:  # not the model's fault
        raise
    except Exception as error:  # a runtime that is fed with a foreign model raises anything
        reason = printable(" ".join(str(error).split()))[:160] or type(error).__name__
        raise _unfit(f"{met} ({reason})") from None


def _unfit(met: str) -> ModelUnfit:
    return ModelUnfit("E-RUNTIME-MODEL", f"the model {met}: convert it again, or choose another --file")


def _ramp(spec: InputSpec) -> Pixels:
    """uint8 [1, H, W, C] of every level."""
    size = spec.height * spec.width * spec.channels
    return (np.arange(size) % 256).astype(np.uint8).reshape(1, spec.height, spec.width, spec.channels)
