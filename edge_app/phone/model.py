"""What page.json says of a model file: LiteRT's wasm does not tell a tensor's scale and zero point."""

from typing import Any, Literal, cast, get_args

from msgspec import Struct

from limiar.edge_app.bundle.manifest import InputSpec, ModelFile
from limiar.edge_app.errors import BundleError
from limiar.edge_app.inference.model_check import check_model
from limiar.edge_app.runtimes import litert, one_image
from limiar.edge_app.runtimes.interpreter import InterpreterRuntime

InputType = Literal["uint8", "int8", "float32"]  # raw pixels; int8: pixel - 128
OutputType = Literal["float32", "int8", "uint8", "int16", "uint16"]


class Input(Struct, frozen=True):
    """The model's input."""

    type: InputType


class Output(Struct, frozen=True):
    """An output, in the Interpreter's order; a stored q stands for (q - zero_point) * scale."""

    shape: tuple[int, ...]
    type: OutputType
    scale: float  # 0 and 0: float32, not quantized
    zero_point: int


class PageModel(Struct, frozen=True):
    """A model file, as web/runtime/litert.js needs to know it."""

    input: Input
    outputs: tuple[Output, ...]


def page_model(file: ModelFile, data: bytes, spec: InputSpec, labels: int) -> PageModel:
    """What a model file takes and gives. Raises BundleError: no phone runs it; RuntimeUnavailable: nor does LiteRT here."""
    if file.format != "tflite":
        raise BundleError("E-PHONE-FILE", f"{file.name} is an {file.format} file, and phones run TFLite: choose another --file")
    interpreter = litert.open_model(data, threads=1, optimised=True)
    check_model(InterpreterRuntime("litert", "", interpreter), labels, spec)
    given = one_image(interpreter.get_input_details())
    if _type(given) not in get_args(InputType):
        raise BundleError("E-PHONE-FILE", f"{file.name} takes {_type(given)}, not pixels: convert it with limiar")
    outputs = tuple(_output(file, details) for details in interpreter.get_output_details())
    if len({(output.shape, output.type) for output in outputs}) != len(outputs):  # how the wasm's are told apart
        raise BundleError("E-PHONE-FILE", f"{file.name} has outputs of equal shape: convert it with limiar")
    return PageModel(Input(cast(InputType, _type(given))), outputs)


def _output(file: ModelFile, details: dict[str, Any]) -> Output:
    if _type(details) not in get_args(OutputType):
        raise BundleError("E-PHONE-FILE", f"{file.name} gives {_type(details)}: convert it with limiar")
    scale, zero_point = details["quantization"]
    shape = tuple(int(side) for side in details["shape"])
    return Output(shape, cast(OutputType, _type(details)), float(scale), int(zero_point))


def _type(details: dict[str, Any]) -> str:
    return str(details["dtype"].__name__)
