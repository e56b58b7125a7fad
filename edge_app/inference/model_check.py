"""Tries a model file before the first image: one invocation shows whether it is what its manifest says.

A file that is whole and has the right hash may still be the wrong model: one with another input or other outputs, or one that
gives NaN, crashes or never ends. So this belongs in a process that may be lost: a worker, or a child (child.py).
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.arrays import ClassMap, Logits, Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ModelUnfit, printable
from limiar.edge_app.inference.model import Model
from limiar.edge_app.runtimes import Runtime, open_preferred
from limiar.edge_app.runtimes.interpreter import InterpreterRuntime
from limiar.edge_app.text import counted

_Out = TypeVar("_Out")
_LATER = "took one image and fails over another"


def open_checked(model: Model) -> Runtime:
    """Loads a model file and invokes it once. Raises RuntimeUnavailable, and ModelUnfit if the file is at fault."""
    try:
        runtime = open_preferred(model.format, model.data, model.runtime, model.threads)
        check_model(runtime, len(model.labels), model.input)
    except ModelUnfit as error:
        raise ModelUnfit(error.code, f"{model.name}: {error.message}") from None
    return runtime


def check_model(runtime: Runtime, labels: int, spec: InputSpec) -> None:
    """Raises ModelUnfit: the loaded model file fails, or does not give a finite number for each label."""
    logits = np.asarray(_run(runtime.logits, _ramp(spec), f"does not take {spec.height}x{spec.width}x{spec.channels} pixels"))
    if logits.ndim != 1:
        raise _unfit(f"gives an array of {'x'.join(map(str, logits.shape))} instead of a number for each label")
    if logits.shape != (labels,):
        raise _unfit(f"gives {counted(logits.size, 'number')} for {labels} labels")
    if not np.isfinite(logits).all():
        raise _unfit("gives NaN or infinity")


def run_model(runtime: Runtime, image: Pixels) -> Logits:
    """Runtime.logits of an image. Raises ModelUnfit if it fails, although the trial succeeded."""
    return _run(runtime.logits, image, _LATER)


def run_with_map(runtime: Runtime, image: Pixels) -> tuple[Logits, ClassMap | None]:
    """Runtime.logits_and_map of an image. Raises ModelUnfit as `run_model` does."""
    return _run(runtime.logits_and_map, image, _LATER)


def run_block(runtime: InterpreterRuntime, block: Pixels) -> NDArray[np.float32]:
    """InterpreterRuntime.rows of a block of tiles. Raises ModelUnfit as `run_model` does."""
    return _run(runtime.rows, block, _LATER)


def _run(run: Callable[[Pixels], _Out], image: Pixels, met: str) -> _Out:
    try:
        return run(image)
    except MemoryError:  # not the model's fault
        raise
    except Exception as error:  # a runtime that is given a foreign model raises anything
        reason = printable(" ".join(str(error).split()))[:160] or type(error).__name__
        raise _unfit(f"{met} ({reason})") from None


def _unfit(met: str) -> ModelUnfit:
    return ModelUnfit("E-RUNTIME-MODEL", f"the model {met}: convert it again, or choose another --file")


def _ramp(spec: InputSpec) -> Pixels:
    """uint8 [1, H, W, C] with every level from 0 to 255, if it is large enough."""
    size = spec.height * spec.width * spec.channels
    return (np.arange(size) % 256).astype(np.uint8).reshape(1, spec.height, spec.width, spec.channels)
