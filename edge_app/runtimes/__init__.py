"""Runtimes behind one interface; `open_runtime` imports only the one that is asked for."""

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import msgspec

from limiar.edge_app.errors import ModelUnfit, RuntimeUnavailable
from limiar.edge_app.text import counted

if TYPE_CHECKING:  # `limiar --help` and the process that keeps the store load no numpy
    from types import ModuleType

    from limiar.edge_app.arrays import ClassMap, Logits, Pixels

_Input = TypeVar("_Input")  # a runtime's description of an input


class Runtime(Protocol):
    """A loaded model file."""

    name: str  # a key of RUNTIMES
    version: str

    @property
    def kernels(self) -> str:
        """The kernels that compute, in a few words: "XNNPACK"."""

    def logits(self, image: "Pixels") -> "Logits":
        """uint8 [1, H, W, C] in, float32 [K] out, dequantized if the file is quantized."""

    def logits_and_map(self, image: "Pixels") -> "tuple[Logits, ClassMap | None]":
        """From one inference: the logits, and the class activation map, float32 [h, w, K]; None if the file has no map."""

    def invoker(self, image: "Pixels") -> Callable[[], object]:
        """The inference of this image alone, each time it is called: nothing is copied in or out. For `limiar bench`."""


class RuntimeKind(msgspec.Struct, frozen=True):
    """The format that a runtime reads, and what it needs."""

    format: Literal["tflite", "onnx"]
    module: str  # its adapter in this room
    package: str  # the name of its distribution
    install: str  # the command that installs it
    variants: tuple[str, ...] = ()  # keys of OPTIONS: settings that convert tries besides the default


class RuntimeVersion(msgspec.Struct, frozen=True):
    """An installed runtime."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Options(msgspec.Struct, frozen=True):
    """Settings of a runtime."""

    threads: int = 1
    optimised: bool = True  # False, slower: TFLite files without XNNPACK, ONNX graphs as written


OPTIONS = {  # as in a bundle's manifest; "": a device's default
    "": Options(),
    "4 threads": Options(threads=4),
    "without XNNPACK": Options(optimised=False),
    "without graph optimisation": Options(optimised=False),
}
RUNTIMES = {  # in order of preference for its format
    "litert": RuntimeKind(
        "tflite", "limiar.edge_app.runtimes.litert", "ai-edge-litert", "pip install limiar", ("4 threads", "without XNNPACK")
    ),
    "tflite-runtime": RuntimeKind(
        "tflite", "limiar.edge_app.runtimes.tflite", "tflite-runtime", "pip install 'limiar[tflite]'"
    ),
    "onnxruntime": RuntimeKind(
        "onnx", "limiar.edge_app.runtimes.onnx", "onnxruntime", "pip install 'limiar[onnx]'", ("without graph optimisation",)
    ),
}


def title(runtime: str, options: str) -> str:
    """A runtime with its options: "litert, 4 threads"."""
    return f"{runtime}, {options}" if options else runtime


def installed_runtimes(model_format: str | None = None) -> list[RuntimeVersion]:
    """The runtimes installed here (for a format, or all), preferred first. Reads package metadata, without importing them."""
    from importlib import metadata  # 10 ms that the start of a scan does not need

    found = []
    for name, kind in RUNTIMES.items():
        if model_format in (None, kind.format):
            with contextlib.suppress(metadata.PackageNotFoundError):
                found.append(RuntimeVersion(name, metadata.version(kind.package)))
    return found


def open_preferred(model_format: str, model: bytes, wanted: str | None = None, threads: int = 1) -> Runtime:
    """Loads a model into the wanted runtime, or the first installed one that reads the format. Raises RuntimeUnavailable."""
    fitting = [name for name, kind in RUNTIMES.items() if kind.format == model_format]
    if wanted in RUNTIMES and wanted not in fitting:
        cure = f"choose one of {', '.join(fitting)}"
        raise RuntimeUnavailable("E-RUNTIME-FORMAT", f"{wanted} does not read {model_format} files: {cure}")
    if wanted is not None:
        return open_runtime(wanted, model, threads)
    for name in fitting[:-1]:
        if importlib.util.find_spec(RUNTIMES[name].package.replace("-", "_")):
            return open_runtime(name, model, threads)
    return open_runtime(fitting[-1], model, threads)


def open_runtime(name: str, model: bytes, threads: int = 1, optimised: bool = True) -> Runtime:
    """Loads a model file's bytes into a runtime. Raises RuntimeUnavailable: it is unknown, not installed, or refuses the file.

    optimised: as in Options.
    """
    runtime: Runtime = adapter(name).load(model, threads, optimised)
    return runtime


def check_known(name: str) -> None:
    """Raises RuntimeUnavailable: there is no such runtime."""
    if name not in RUNTIMES:
        raise RuntimeUnavailable("E-RUNTIME-UNKNOWN", f"there is no runtime {name}: choose one of {', '.join(RUNTIMES)}")


def adapter(name: str) -> "ModuleType":
    """The module of a runtime in this room: `load` opens a classifier, `open_model` any model. Raises RuntimeUnavailable."""
    check_known(name)
    try:
        return importlib.import_module(RUNTIMES[name].module)
    except ModuleNotFoundError as error:
        own = error.name == RUNTIMES[name].package.replace("-", "_")
        met = f"{name} is not installed" if own else f"{name} needs {error.name}, which is not installed"
        raise RuntimeUnavailable("E-RUNTIME-MISSING", f"{met}: {RUNTIMES[name].install}") from None


def one_image(inputs: Sequence[_Input]) -> _Input:
    """The only input of a model. Raises ModelUnfit if it has none, or several."""
    if len(inputs) != 1:
        met = f"the model takes {counted(len(inputs), 'input')}, not one image"
        raise ModelUnfit("E-RUNTIME-INPUT", f"{met}: convert it with limiar")
    return inputs[0]
