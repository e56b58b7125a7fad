"""A model file's answers on a runtime, through edge_app, in a process of its own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import msgspec
import numpy as np

from limiar import edge_app
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.errors import ConvertError, printable
from limiar.edge_app.inference.parity import Seen
from limiar.edge_app.runtimes import RUNTIMES, installed_runtimes, title

TFLITE_PYTHON = "LIMIAR_TFLITE_PYTHON"  # a Python that has tflite-runtime; else the one in ./.venv-tflite
_NEEDED = "import cv2, msgspec, numpy, PIL, tflite_runtime.interpreter"  # what edge_app runs with there
_LIMIT_S = 600.0  # for one file on one runtime: 100,000 images at 6 ms


Key = tuple[str, str]  # runtime and options, as in Environment


class Environment(msgspec.Struct, frozen=True):
    """A runtime, the Python that has it, and how it is asked to compute."""

    runtime: str
    python: str
    options: str = ""  # a key of limiar.edge_app.runtimes.OPTIONS

    @property
    def key(self) -> Key:
        """Its answers' key."""
        return self.runtime, self.options

    @property
    def title(self) -> str:
        """For a person."""
        return title(self.runtime, self.options)


class Answers(msgspec.Struct, frozen=True):
    """What one runtime gave for every tensor."""

    seen: Seen
    logits: np.ndarray  # float32 [N, K]
    first_layer: str | None = None  # RuntimeResult.first_layer
    class_map: float | None = None  # RuntimeResult.class_map


class RuntimeFailure(Exception):
    """The runtime refuses the file, crashes on it or takes too long; str() is the reason, one line."""


Outcomes = Mapping[Key, Answers | RuntimeFailure]  # what each runtime gave for one model file


def find_environments() -> tuple[list[Environment], list[str]]:
    """The runtimes that can be asked here, each with its defaults first, and a line for each runtime that is not checked."""
    here = {version.name for version in installed_runtimes()}
    environments, not_checked = [], []
    for runtime in RUNTIMES:
        if runtime in here:
            environments += _variants(runtime, sys.executable)
        elif runtime == "tflite-runtime" and (python := _tflite_python()):
            _check_environment(python)
            environments += _variants(runtime, python)
        else:
            cure = f"set {TFLITE_PYTHON} to a Python that has it" if runtime == "tflite-runtime" else RUNTIMES[runtime].install
            not_checked.append(f"{runtime}: not checked here ({cure})")
    return environments, not_checked


def _variants(runtime: str, python: str) -> list[Environment]:
    return [Environment(runtime, python, options) for options in ("", *RUNTIMES[runtime].variants)]


def _tflite_python() -> str | None:
    if named := os.environ.get(TFLITE_PYTHON):
        return named
    beside = Path(".venv-tflite/bin/python")
    return str(beside.absolute()) if beside.exists() else None


def _check_environment(python: str) -> None:
    """Checks, before the work, that an environment that exists can run. Raises ConvertError."""
    try:
        done = subprocess.run([python, "-c", _NEEDED], capture_output=True, timeout=_LIMIT_S, env=_environ())
        reason = (done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    except OSError as error:
        reason = str(error.strerror)
    except subprocess.TimeoutExpired:
        reason = f"no answer after {_LIMIT_S:.0f} s"
    else:
        if done.returncode == 0:
            return
    met = f"{printable(python)} cannot run tflite-runtime ({printable(reason)[:200]})"
    raise ConvertError("E-CONVERT-RUNTIME", f"{met}: repair that environment, or set {TFLITE_PYTHON} to another")


class Bench:
    """Model files are run in processes of their own, by a copy of this edge_app, whatever is installed there."""

    def __init__(self, tensors: Pixels) -> None:
        self._tensors = tensors

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="limiar-")
        self._root = Path(self._folder.name)
        # A copy, not a path: the desktop's site-packages would bring its numpy along, which tflite-runtime cannot use.
        device, copy = Path(edge_app.__file__).parent, self._root / "limiar"
        shutil.copytree(device, copy / "edge_app", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(device.parent / "__init__.py", copy)
        np.save(self._root / "tensors.npy", self._tensors, allow_pickle=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def answers(self, environment: Environment, name: str, model: bytes) -> Answers:
        """Every tensor through one file on one runtime. Raises RuntimeFailure."""
        with tempfile.TemporaryDirectory(dir=self._root) as folder:
            logits = Path(folder, "logits.npy")
            return Answers(self._run(environment, name, model, logits), np.load(logits, allow_pickle=False))

    def maps(self, environment: Environment, name: str, model: bytes) -> np.ndarray:
        """float32 [N, h, w, K], the class activation map of every tensor from a file that has it. Raises RuntimeFailure."""
        with tempfile.TemporaryDirectory(dir=self._root) as folder:
            maps = Path(folder, "maps.npy")
            self._run(environment, name, model, maps, "maps")
            return np.asarray(np.load(maps, allow_pickle=False))

    def rows(self, environment: Environment, name: str, model: bytes) -> np.ndarray:
        """float32 [N, tiles, K], the logits of the tiles of every tensor, a block. Raises RuntimeFailure."""
        with tempfile.TemporaryDirectory(dir=self._root) as folder:
            rows = Path(folder, "rows.npy")
            self._run(environment, name, model, rows, "rows")
            return np.asarray(np.load(rows, allow_pickle=False))

    def values(self, environment: Environment, name: str, model: bytes, row: int) -> list[np.ndarray]:
        """Every output of a TFLite file for one of the tensors, as the file has them. Raises RuntimeFailure."""
        with tempfile.TemporaryDirectory(dir=self._root) as folder:
            out = Path(folder, "values.npz")
            self._run(environment, name, model, out, str(row))
            with np.load(out, allow_pickle=False) as values:
                return [values[name] for name in values.files]

    def _run(self, environment: Environment, name: str, model: bytes, out: Path, *wanted: str) -> Seen:
        """limiar.edge_app.inference.parity, in the environment's Python; `out` appears in a folder of this run's own."""
        file = out.with_name(name)
        file.write_bytes(model)
        words = [environment.runtime, environment.options, str(file), "tensors.npy", str(out), *wanted]
        command = [environment.python, "-m", "limiar.edge_app.inference.parity", *words]
        done = self._ended(command)
        if done.returncode == -signal.SIGKILL:  # by the kernel, for lack of memory: not the file's fault
            done = self._ended(command)
        if done.returncode == -signal.SIGKILL:
            raise RuntimeFailure("was killed twice, probably for lack of memory: end other programs, then convert again")
        if done.returncode < 0:
            raise RuntimeFailure(f"crashed with signal {-done.returncode}")
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise RuntimeFailure(printable(lines[-1])[:300] if lines else f"exit status {done.returncode}")
        return msgspec.json.decode(done.stdout, type=Seen)

    def _ended(self, command: list[str]) -> "subprocess.CompletedProcess[bytes]":
        try:
            return subprocess.run(command, cwd=self._root, capture_output=True, timeout=_LIMIT_S, env=_environ())
        except subprocess.TimeoutExpired:
            busy = f"the machine's load was {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
            raise RuntimeFailure(f"no answer after {_LIMIT_S:.0f} s ({busy}): end other programs, then convert again") from None


def _environ() -> dict[str, str]:
    """This process's, without what would put other packages before the copy of limiar in the current folder."""
    misleading = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH")
    return {name: value for name, value in os.environ.items() if name not in misleading}
