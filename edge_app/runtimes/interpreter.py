"""The Interpreter of LiteRT and of tflite-runtime: the same class under two names."""

import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.arrays import ClassMap, Logits, Pixels
from limiar.edge_app.errors import ModelUnfit
from limiar.edge_app.runtimes import one_image
from limiar.edge_app.system.stderr import captured_stderr

# How a file declares raw pixels if it has no floats: the scale and zero point of its input.
_RAW: dict[type, tuple[float, int]] = {np.uint8: (1.0, 0), np.int8: (1.0, -128)}
_SIGN = np.uint8(0x80)  # pixel - 128 as int8 is the pixel with its first bit turned

# The delegate's greeting, printed at every start.
_GREETING = re.compile(rb"INFO: (Created TensorFlow Lite XNNPACK delegate for CPU|Initialized TensorFlow Lite runtime)\.")


def open_interpreter(name: str, version: str, module: Any, model: bytes, threads: int, optimised: bool) -> Any:
    """The Interpreter of a model file's bytes, with its tensors allocated. Raises ModelUnfit.

    module: the package's `interpreter`.
    """
    kernels = module.OpResolverType.AUTO if optimised else module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    written: list[bytes] = []
    try:
        with captured_stderr() as written:
            opened = module.Interpreter(model_content=model, num_threads=threads, experimental_op_resolver_type=kernels)
            opened.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelUnfit(
            "E-RUNTIME-LOAD", f"{name} {version} refuses the model ({reason}): choose another model file"
        ) from None
    finally:
        for line in written:
            if not _GREETING.match(line):
                os.write(2, line)
    return opened


class InterpreterRuntime:
    """A TFLite model with a fixed batch of 1 in an Interpreter. Not in LiteRT's CompiledModel: see runtimes/litert.py."""

    def __init__(self, name: str, version: str, opened: Any) -> None:
        """opened: what open_interpreter returned."""
        self.name = name
        self.version = version
        self._interpreter = opened
        given = one_image(self._interpreter.get_input_details())
        self._outputs = self._interpreter.get_output_details()
        if not self._outputs:
            raise ModelUnfit("E-RUNTIME-MODEL", "the model has no output: convert it again, or choose another --file")
        # By their shapes, not their order: logits are [1, K], the map [1, h, w, K].
        self._logits = next((output for output in self._outputs if len(output["shape"]) == 2), self._outputs[0])
        self._map = next((output for output in self._outputs if len(output["shape"]) == 4), None)
        self._input, self._type = given["index"], given["dtype"]
        raw = _RAW.get(self._type)
        if raw is not None and given["quantization"] != raw:
            met = f"its {self._type.__name__} input has scale and zero point {given['quantization']}, not {raw}"
            raise ModelUnfit("E-RUNTIME-INPUT", f"{met}, so raw pixels would be misread: convert it with limiar")

    @property
    def kernels(self) -> str:
        """XNNPACK if it computes at least part of the model."""
        delegated = any(op["op_name"] == "DELEGATE" for op in self._interpreter._get_ops_details())
        return "XNNPACK" if delegated else "built-in kernels"

    def logits(self, image: Pixels) -> Logits:
        """uint8 [1, H, W, C] in, float32 [K] out. int8 and int16 outputs are (q - zero point) * scale."""
        self._invoke(image)
        return self._value(self._logits)

    def logits_and_map(self, image: Pixels) -> tuple[Logits, ClassMap | None]:
        """uint8 [1, H, W, C] in, float32 [K] and [h, w, K] out; None if the file has no such output."""
        self._invoke(image)
        return self._value(self._logits), None if self._map is None else self._value(self._map)

    def rows(self, block: Pixels) -> NDArray[np.float32]:
        """uint8 [1, H, W, C] in, float32 [tiles, K] out: of a file that answers a block of tiles (inference/blocks.py)."""
        self._invoke(block)
        return _dequantized(self._interpreter.get_tensor(self._logits["index"]), self._logits)

    def invoker(self, image: Pixels) -> Callable[[], object]:
        """uint8 [1, H, W, C] in. Each call computes it again until another image is given: an Interpreter keeps its input."""
        self._give(image)
        invoke: Callable[[], object] = self._interpreter.invoke
        return invoke

    def outputs(self, image: Pixels) -> list[np.ndarray]:
        """uint8 [1, H, W, C] in, every output unchanged: for a file that shows its inner values."""
        self._invoke(image)
        return [self._interpreter.get_tensor(output["index"]) for output in self._outputs]

    def _value(self, output: dict[str, Any]) -> NDArray[np.float32]:
        """An output of the last image, without its batch."""
        return _dequantized(self._interpreter.get_tensor(output["index"])[0], output)

    def _invoke(self, image: Pixels) -> None:
        self._give(image)
        self._interpreter.invoke()

    def _give(self, image: Pixels) -> None:
        given: NDArray[Any] = image
        if self._type is np.int8:
            given = (image ^ _SIGN).view(np.int8)
        elif self._type is not np.uint8:
            given = image.astype(np.float32)
        self._interpreter.set_tensor(self._input, given)


def _dequantized(stored: NDArray[Any], output: dict[str, Any]) -> NDArray[np.float32]:
    """The numbers that an output's stored values stand for."""
    if stored.dtype == np.float32:
        return np.asarray(stored)
    scale, zero_point = output["quantization"]
    value = np.asarray(stored, np.float32)
    value -= np.float32(zero_point)
    value *= np.float32(scale)
    return value
