"""What LiteRT's and tflite-runtime's Interpreter have in common: the same class under two names."""

import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from edge_app.errors import RuntimeUnavailable
from edge_app.frame import Logits, Pixels
from edge_app.stderr import captured_stderr

# The delegate's greeting says that the quick kernels are used; said at every start it is noise.
_GREETING = re.compile(rb"INFO: (Created TensorFlow Lite XNNPACK delegate for CPU|Initialized TensorFlow Lite runtime)\.")


class InterpreterRuntime:
    """A TFLite model with fixed batch 1 in an Interpreter. LiteRT's CompiledModel is avoided: see load() in litert.py."""

    def __init__(self, name: str, version: str, interpreter: Callable[..., Any], model: bytes, threads: int) -> None:
        self.name = name
        self.version = version
        written: list[bytes] = []
        try:
            with captured_stderr() as written:
                self._interpreter = interpreter(model_content=model, num_threads=threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise RuntimeUnavailable(
                "E-RUNTIME-LOAD", f"{name} {version} refuses the model ({reason}): choose another --file"
            ) from None
        finally:
            for line in written:
                if not _GREETING.match(line):
                    os.write(2, line)
        self.xnnpack = b"XNNPACK delegate" in b"".join(written)
        (given,) = self._interpreter.get_input_details()
        output = self._interpreter.get_output_details()[0]
        self._input, self._output = given["index"], output["index"]
        self._raw = given["dtype"] is np.uint8
        self._scale, self._zero_point = output["quantization"]
        if self._raw and given["quantization"] != (1.0, 0):
            met = f"its uint8 input has scale and zero point {given['quantization']}, not (1.0, 0)"
            raise RuntimeUnavailable("E-RUNTIME-INPUT", f"{met}, so raw pixels would be misread: convert it with limiar")

    def logits(self, image: Pixels) -> Logits:
        """uint8 [1, H, W, C] in, float32 [K] out. int8 and int16 outputs are (q - zero point) * scale."""
        self._interpreter.set_tensor(self._input, image if self._raw else image.astype(np.float32))
        self._interpreter.invoke()
        output = self._interpreter.get_tensor(self._output)[0]
        if output.dtype == np.float32:
            return np.asarray(output)
        return np.asarray((output.astype(np.float32) - np.float32(self._zero_point)) * np.float32(self._scale))
