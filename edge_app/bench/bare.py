"""Any model file: its inputs are filled once, with random numbers of a fixed seed, and then only its inference is called.

A model file that is not in a bundle is a stranger's: this belongs in a process that may be lost.
"""

import functools
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from limiar.edge_app.errors import ModelUnfit, RuntimeUnavailable, printable
from limiar.edge_app.runtimes import RUNTIMES, adapter, installed_runtimes
from limiar.edge_app.system.files import read_bounded

Format = Literal["tflite", "onnx"]
FORMATS: dict[str, Format] = {".tflite": "tflite", ".onnx": "onnx"}  # by the end of a file's name

_MOST_BYTES = 1 << 31  # of a file, and of all inputs: protobuf and flatbuffers end there
_SEED = 17
_LONGEST_NAME = 60  # characters; a name comes from the file
_INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
_ONNX_TYPES = {  # as onnxruntime writes them -> as numpy does
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    **{f"tensor({kind})": kind for kind in _INTEGERS},
}


class Tensor(Struct, frozen=True):
    """An input or output of a model."""

    name: str  # printable, at most 60 characters
    type: str  # as numpy writes it: "uint8"; an output that is not an array: as the runtime writes it
    shape: tuple[int, ...]
    assumed: tuple[int, ...] = ()  # dimensions that the file leaves open: they were taken as 1

    def __str__(self) -> str:
        return f"{self.name} {self.type} [{', '.join(map(str, self.shape))}]"


class Bare(Struct, frozen=True):
    """A loaded model whose inputs are filled."""

    runtime: str
    version: str
    threads: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    invoke: Callable[[], object]  # the inference alone: nothing is copied in or out
    loaded_ns: int  # the monotonic clock when the model was loaded, and nothing invoked yet
    first_ns: int  # what the first invocation took
    model: Any  # the runtime's own object: an Interpreter, an InferenceSession

    @property
    def filled(self) -> str:
        """What it is given, for a person."""
        return ", ".join(map(str, self.inputs)) or "no input"

    @property
    def notes(self) -> list[str]:
        """What the figures rest on."""
        return [
            f"the file leaves dimension {', '.join(map(str, one.assumed))} of input {one.name} open: taken as 1"
            for one in self.inputs
            if one.assumed
        ]


def model_format(path: Path | str) -> Format | None:
    """The format of a model file by its name; None: it is not one, but perhaps a bundle."""
    return FORMATS.get(Path(path).suffix.lower())


def is_model(path: Path | str) -> bool:
    """Whether a path is to be taken for a model file, and not for a bundle."""
    return model_format(path) is not None and not Path(path).is_dir()


def read_model(path: Path | str) -> tuple[Format, bytes]:
    """A model file's format and bytes, unchecked. Raises RuntimeUnavailable."""
    found = model_format(path)
    if found is None:
        raise RuntimeUnavailable(
            "E-BENCH-MODEL", f"{printable(str(path))} is not a .tflite or .onnx file: give one, or a bundle"
        )
    try:
        return found, read_bounded(path, _MOST_BYTES, follow=True)
    except OSError as error:
        met = error.strerror or str(error)
        raise RuntimeUnavailable("E-BENCH-MODEL", f"{printable(str(path))} cannot be read ({met}): check the path") from None


def same_model(path: Path | str, sha256: str) -> tuple[Format, bytes]:
    """The model file that was read before. Raises RuntimeUnavailable: it cannot be read now, or has changed."""
    format, data = read_model(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise RuntimeUnavailable("E-BENCH-MODEL", f"{printable(str(path))} was changed meanwhile: measure again")
    return format, data


def open_bare(format: Format, data: bytes, runtime: str | None = None, threads: int = 1, profile: str = "") -> Bare:
    """Loads a model file, fills its inputs and invokes it once.

        bare = open_bare("tflite", Path("model.tflite").read_bytes(), "litert", threads=2)
        bare.invoke()

    runtime: a key of RUNTIMES; None: the first installed one that reads the format. profile: for onnxruntime, see its adapter.
    Floats are from -1 to 1. Integers of 8 and 16 bits are of their whole range, being pixels or quantized numbers; wider ones
    are 0 or 1, being indices, lengths or masks. Dimensions that the file leaves open are 1.
    Raises RuntimeUnavailable, and ModelUnfit if the file is at fault.
    """
    name = runtime or _preferred(format)
    module = adapter(name)
    if RUNTIMES[name].format != format:
        raise RuntimeUnavailable("E-RUNTIME-FORMAT", f"{name} does not read {format} files: choose another runtime")
    model = module.open_model(data, threads, True, profile) if profile else module.open_model(data, threads, True)
    loaded_ns = time.monotonic_ns()
    ready = _onnx if format == "onnx" else _tflite
    try:
        inputs, outputs, invoke = ready(model)
        began_ns = time.monotonic_ns()
        invoke()
        first_ns = time.monotonic_ns() - began_ns
    except (ModelUnfit, MemoryError):
        raise
    except Exception as error:  # a runtime that is given a foreign model raises anything
        reason = printable(" ".join(str(error).split()))[:160] or type(error).__name__
        raise ModelUnfit("E-RUNTIME-MODEL", f"the model fails on its first invocation ({reason}): try another file") from None
    return Bare(name, _version(name), threads, inputs, outputs, invoke, loaded_ns, first_ns, model)


def _preferred(format: Format) -> str:
    found = installed_runtimes(format)
    return found[0].name if found else next(name for name, kind in RUNTIMES.items() if kind.format == format)


def _version(name: str) -> str:
    return next((found.version for found in installed_runtimes() if found.name == name), "unknown")


def _tflite(model: Any) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Callable[[], object]]:
    """model: an Interpreter with its tensors allocated."""
    given, gives = model.get_input_details(), model.get_output_details()
    inputs = tuple(_of_interpreter(one) for one in given)
    _check_size(inputs)
    rng = np.random.default_rng(_SEED)
    for one, described in zip(given, inputs, strict=True):
        model.set_tensor(one["index"], _filled(rng, described))
    return inputs, tuple(_of_interpreter(one) for one in gives), model.invoke


def _of_interpreter(one: dict[str, Any]) -> Tensor:
    assumed = tuple(k for k, size in enumerate(one["shape_signature"]) if size < 0)
    return Tensor(_named(one["name"]), np.dtype(one["dtype"]).name, tuple(map(int, one["shape"])), assumed)


def _onnx(model: Any) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Callable[[], object]]:
    """model: an InferenceSession."""
    given = model.get_inputs()
    inputs = tuple(_of_session(one) for one in given)
    _check_size(inputs)
    rng = np.random.default_rng(_SEED)
    binding = model.io_binding()
    feed = {}
    for one, described in zip(given, inputs, strict=True):
        filled = _filled(rng, described)
        feed[one.name] = adapter("onnxruntime").value_of(filled)
        binding.bind_ortvalue_input(one.name, feed[one.name])
    names = [one.name for one in model.get_outputs()]
    found = model.run_with_ort_values(names, feed)
    for name, value in zip(names, found, strict=True):
        if value.is_tensor():  # bound to memory that is there already; a sequence is made anew each time
            binding.bind_ortvalue_output(name, value)
        else:
            binding.bind_output(name)
    outputs = tuple(_of_value(name, value) for name, value in zip(names, found, strict=True))
    return inputs, outputs, functools.partial(model.run_with_iobinding, binding)


def _of_session(one: Any) -> Tensor:
    if one.type not in _ONNX_TYPES:
        raise _not_filled(_named(one.name), str(one.type))
    assumed = tuple(k for k, size in enumerate(one.shape) if not isinstance(size, int))
    shape = tuple(size if isinstance(size, int) else 1 for size in one.shape)
    return Tensor(_named(one.name), _ONNX_TYPES[one.type], shape, assumed)


def _of_value(name: str, value: Any) -> Tensor:
    kind = str(value.data_type())
    if not value.is_tensor():
        return Tensor(_named(name), _named(kind), ())
    shape = tuple(map(int, value.shape()))
    return Tensor(_named(name), _ONNX_TYPES.get(kind) or _named(kind), shape)


def _check_size(inputs: Sequence[Tensor]) -> None:
    """Raises ModelUnfit before memory is asked for that no device has."""
    for one in inputs:
        if one.type not in _ONNX_TYPES.values():
            raise _not_filled(one.name, one.type)
    taken = sum(math.prod(one.shape) * np.dtype(one.type).itemsize for one in inputs)
    if taken > _MOST_BYTES:
        raise ModelUnfit(
            "E-RUNTIME-INPUT", f"the model's inputs take {taken >> 20} MiB: limiar measures up to {_MOST_BYTES >> 20}"
        )


def _not_filled(name: str, kind: str) -> ModelUnfit:
    kind = "text" if kind in ("tensor(string)", "object", "bytes", "str") or kind.startswith(("bytes", "str")) else kind
    return ModelUnfit(
        "E-RUNTIME-INPUT", f"input {name} takes {kind}: limiar can fill arrays of numbers alone; try another file"
    )


def _filled(rng: np.random.Generator, to: Tensor) -> NDArray[Any]:
    """An array as `open_bare` says."""
    kind = np.dtype(to.type)
    if kind.kind == "f":
        return np.asarray(rng.uniform(-1.0, 1.0, to.shape)).astype(kind)
    if kind.kind == "b" or kind.itemsize > 2:
        return np.asarray(rng.integers(0, 2, to.shape)).astype(kind)
    limits = np.iinfo(kind)
    return np.asarray(rng.integers(limits.min, limits.max, to.shape, dtype=kind.type, endpoint=True))


def _named(name: str) -> str:
    name = printable(str(name))
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
