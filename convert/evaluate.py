"""A model file's answers on every runtime, through edge_app, beside those of Keras."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec
import numpy as np

import edge_app
from edge_app.bundle import Decision, Metric, Value, Verified
from edge_app.classifier import softmax
from edge_app.errors import ConvertError, printable
from edge_app.frame import Pixels
from edge_app.metrics import class_metrics, decided_metrics, proportion
from edge_app.runtimes import RUNTIMES, installed_runtimes

TFLITE_PYTHON = "LIMIAR_TFLITE_PYTHON"  # a Python that has tflite-runtime; else the one in ./.venv-tflite
_NEEDED = "import cv2, msgspec, numpy, PIL, tflite_runtime.interpreter"  # what edge_app runs with there
_LIMIT_S = 600.0  # for one file on one runtime: 100,000 images at 6 ms
# Of a logit: with and without AVX-512, Keras and ONNX Runtime gave fp32 logits that differ by 1.4e-6; a report must repeat.
_NOISE = 1e-5
_DECIMALS = 6  # of a metric: far below its interval, above the last bits that processors differ in


class Environment(msgspec.Struct, frozen=True):
    """A runtime, and the Python that has it."""

    runtime: str
    python: str


class Comparison(Value, frozen=True, forbid_unknown_fields=True):
    """The answers for one split. Metrics count the label of all images, referred ones too."""

    images: int
    finite: bool  # else the rest is empty
    metrics: dict[str, Metric] = msgspec.field(default_factory=dict)
    largest_difference: float | None = None  # of a logit from Keras's, absolute


class RuntimeResult(Value, frozen=True, forbid_unknown_fields=True):
    """One model file on one runtime."""

    runtime: str
    version: str | None = None
    machine: str | None = None
    val: Comparison | None = None
    test: Comparison | None = None
    golden_difference: float | None = None  # largest, of a golden image's logit, from the file's own runtime
    error: str | None = None  # why there is no answer at all


class Answers(msgspec.Struct, frozen=True):
    """What one runtime gave for every tensor."""

    seen: Verified
    logits: np.ndarray  # float32 [N, K]


class RuntimeFailure(Exception):
    """The runtime refuses the file, crashes on it or takes too long; str() is the reason, one line."""


def find_environments() -> tuple[list[Environment], list[str]]:
    """The runtimes that can be asked here, and for each other one a line why it is not checked."""
    here = {version.name for version in installed_runtimes()}
    environments, not_checked = [], []
    for runtime in RUNTIMES:
        if runtime in here:
            environments.append(Environment(runtime, sys.executable))
        elif runtime == "tflite-runtime" and (python := _tflite_python()):
            _check_environment(python)
            environments.append(Environment(runtime, python))
        else:
            cure = f"set {TFLITE_PYTHON} to a Python that has it" if runtime == "tflite-runtime" else RUNTIMES[runtime].install
            not_checked.append(f"{runtime}: not checked here ({cure})")
    return environments, not_checked


def _tflite_python() -> str | None:
    if named := os.environ.get(TFLITE_PYTHON):
        return named
    beside = Path(".venv-tflite/bin/python")
    return str(beside.absolute()) if beside.exists() else None


def _check_environment(python: str) -> None:
    """Before the work, not after it: an environment that is there must be able to run. Raises ConvertError."""
    try:
        done = subprocess.run([python, "-c", _NEEDED], capture_output=True, timeout=_LIMIT_S, env=_environ())
        reason = (done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    except OSError as error:
        reason = str(error.strerror)
    else:
        if done.returncode == 0:
            return
    met = f"{printable(python)} cannot run tflite-runtime ({printable(reason)[:200]})"
    raise ConvertError("E-CONVERT-RUNTIME", f"{met}: repair that environment, or set {TFLITE_PYTHON} to another")


class Bench:
    """Model files are run in processes of their own, by a copy of this very edge_app, whatever else is installed there."""

    def __init__(self, tensors: Pixels) -> None:
        self._tensors = tensors

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="limiar-")
        self._root = Path(self._folder.name)
        # A copy, not a path: the desktop's site-packages would bring its numpy along, which tflite-runtime cannot use.
        shutil.copytree(Path(edge_app.__file__).parent, self._root / "edge_app", ignore=shutil.ignore_patterns("__pycache__"))
        np.save(self._root / "tensors.npy", self._tensors, allow_pickle=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def answers(self, environment: Environment, name: str, model: bytes) -> Answers:
        """Every tensor through one file on one runtime. Raises RuntimeFailure."""
        file = self._root / name
        logits = self._root / f"{name}.{environment.runtime}.npy"
        file.write_bytes(model)
        command = [environment.python, "-m", "edge_app.parity", environment.runtime, str(file), "tensors.npy", str(logits)]
        try:
            done = subprocess.run(command, cwd=self._root, capture_output=True, timeout=_LIMIT_S, env=_environ())
        except subprocess.TimeoutExpired:
            raise RuntimeFailure(f"no answer after {_LIMIT_S:.0f} s") from None
        if done.returncode < 0:
            raise RuntimeFailure(f"crashed with signal {-done.returncode}")
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise RuntimeFailure(printable(lines[-1])[:300] if lines else f"exit status {done.returncode}")
        return Answers(msgspec.json.decode(done.stdout, type=Verified), np.load(logits, allow_pickle=False))


def _environ() -> dict[str, str]:
    """This process's, less what would put this environment's packages before the other's."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def compare(
    logits: np.ndarray, keras: np.ndarray, labels: np.ndarray, names: Sequence[str], positive: str | None, decision: Decision
) -> Comparison:
    """One split's metrics, and how they agree with Keras's.

    logits, keras: float32 [N, K]; labels: int64 [N]; names: the K labels. `agreement` is the share of images that get the
    label that Keras gives.
    """
    if not np.isfinite(logits).all():
        return Comparison(images=len(logits), finite=False)
    probabilities = np.stack([softmax(row) for row in logits])
    metrics = class_metrics(labels, probabilities, names, positive)
    metrics |= decided_metrics(labels, probabilities, decision.refer_below)
    same = int((logits.argmax(axis=1) == keras.argmax(axis=1)).sum())
    metrics["agreement"] = proportion(same, len(logits))
    difference = float(np.abs(logits.astype(np.float64) - keras).max())
    return Comparison(
        images=len(logits),
        finite=True,
        metrics={name: _rounded(metric) for name, metric in metrics.items()},
        largest_difference=significant(difference),
    )


def _rounded(metric: Metric) -> Metric:
    value, low, high = (round(x, _DECIMALS) for x in (metric.value, metric.low, metric.high))
    return Metric(value=value, low=low, high=high, n=metric.n)


def significant(value: float, digits: int = 2) -> float:
    """Rounded to this many digits, and what is below _NOISE raised to it: more of a rounding error means nothing."""
    return float(f"{max(value, _NOISE):.{digits - 1}e}") if value else 0.0
