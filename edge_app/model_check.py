"""A model file is tried before the first image: one invocation says whether it is what its manifest says.

A file that is whole and rightly hashed may still be another model: of another input, with other outputs, one that gives no
numbers, crashes or never ends. So this belongs in a process that may be lost: a worker, or a child of `limiar verify`.
"""

import numpy as np

from edge_app.bundle import InputSpec
from edge_app.errors import ModelUnfit, printable
from edge_app.frame import Pixels
from edge_app.messages import Job
from edge_app.runtimes import Runtime, open_preferred


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
    try:
        logits = np.asarray(runtime.logits(_ramp(spec)))
    except Exception as error:  # a runtime that is fed with a foreign model raises anything
        reason = printable(" ".join(str(error).split()))[:160] or type(error).__name__
        raise _unfit(f"does not take {spec.height}x{spec.width}x{spec.channels} pixels ({reason})") from None
    if logits.shape != (labels,):
        raise _unfit(f"gives {logits.size} numbers for {labels} labels")
    if not np.isfinite(logits).all():
        raise _unfit("gives NaN or infinity")


def _unfit(met: str) -> ModelUnfit:
    return ModelUnfit("E-RUNTIME-MODEL", f"the model {met}: convert it again, or choose another --file")


def _ramp(spec: InputSpec) -> Pixels:
    """uint8 [1, H, W, C] of every level."""
    size = spec.height * spec.width * spec.channels
    return (np.arange(size) % 256).astype(np.uint8).reshape(1, spec.height, spec.width, spec.channels)
