"""ONNX Runtime on the CPU."""

import functools
import os
from collections.abc import Callable
from typing import Any

# From 1.29 its Linux wheels send telemetry and write a device id under HOME, unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from limiar.edge_app.arrays import ClassMap, Logits, Pixels
from limiar.edge_app.errors import ModelUnfit
from limiar.edge_app.runtimes import one_image

_NOWHERE = "/dev/null/none"  # a folder that cannot exist


def open_model(model: bytes, threads: int, optimised: bool, profile: str = "") -> onnxruntime.InferenceSession:
    """The session of any .onnx file. Raises ModelUnfit.

    profile: the start of a path; if given, the session's end_profiling writes a file there.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    # A model may name files that hold its weights. For a model given as bytes, onnxruntime looks for them in the current
    # folder, but files that are not in the bundle must not change its answers.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NOWHERE)
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no other base class
        reason = " ".join(str(error).split())[:160]
        met = f"onnxruntime {onnxruntime.__version__} refuses the model ({reason})"
        raise ModelUnfit("E-RUNTIME-LOAD", f"{met}: choose another model file") from None


def value_of(array: NDArray[Any]) -> onnxruntime.OrtValue:
    """An array as a session takes it without a copy at each call."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


class OnnxRuntime:
    """An ONNX model with a fixed batch of 1 and one input: NHWC raw pixels, uint8 or float32 as the model declares."""

    name = "onnxruntime"
    version: str = onnxruntime.__version__

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        given = one_image(self._session.get_inputs())
        self._input = given.name
        self._raw = given.type == "tensor(uint8)"
        # By their shapes, not their order: logits are [1, K], the map [1, h, w, K].
        outputs = self._session.get_outputs()
        self._logits = next((output for output in outputs if len(output.shape) == 2), outputs[0]).name
        self._map = next((output.name for output in outputs if len(output.shape) == 4), None)

    @property
    def kernels(self) -> str:
        """Whether the graph was optimised."""
        level = self._session.get_session_options().graph_optimization_level
        return "graph as written" if level == onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL else "optimised graph"

    def logits(self, image: Pixels) -> Logits:
        """uint8 [1, H, W, C] in, float32 [K] out."""
        return self._values([self._logits], image)[0]

    def logits_and_map(self, image: Pixels) -> tuple[Logits, ClassMap | None]:
        """uint8 [1, H, W, C] in, float32 [K] and [h, w, K] out; None if the file has no such output."""
        if self._map is None:
            return self.logits(image), None
        logits, class_map = self._values([self._logits, self._map], image)
        return logits, class_map

    def invoker(self, image: Pixels) -> Callable[[], object]:
        """uint8 [1, H, W, C] in. Its tensors are bound once: `run` would take new memory for the logits each time."""
        pixels = self._pixels(image)
        # ortvalue_from_numpy shares the array's memory, and in 1.29 does not keep the array: its logits were random numbers.
        given = onnxruntime.OrtValue.ortvalue_from_shape_and_type(pixels.shape, pixels.dtype)
        given.update_inplace(pixels)
        (logits,) = self._session.run_with_ort_values([self._logits], {self._input: given})
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._input, given)
        binding.bind_ortvalue_output(self._logits, logits)
        return functools.partial(self._session.run_with_iobinding, binding)

    def _values(self, outputs: list[str], image: Pixels) -> list[NDArray[np.float32]]:
        """Some outputs, without their batch; the whole graph is computed in any case."""
        found = self._session.run(outputs, {self._input: self._pixels(image)})
        return [np.asarray(value[0], np.float32) for value in found]

    def _pixels(self, image: Pixels) -> Pixels | NDArray[np.float32]:
        """As the model declares its input."""
        return image if self._raw else image.astype(np.float32)


def load(model: bytes, threads: int, optimised: bool) -> OnnxRuntime:
    """The bytes of an .onnx file -> a runtime. Raises RuntimeUnavailable."""
    return OnnxRuntime(open_model(model, threads, optimised))
