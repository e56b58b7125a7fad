"""Keras model -> ONNX bytes in three precisions: float32 NHWC raw pixels in, float32 logits out, fixed batch of 1."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# edge_app's adapter switches onnxruntime's telemetry off; it must do so before anything else imports onnxruntime.
import limiar.edge_app.runtimes.onnx  # noqa: F401  isort: skip
from limiar.convert.source.frameworks import tf  # isort: skip  # before tf2onnx imports TensorFlow
import numpy as np
import onnx
import onnxruntime
import tf2onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

from limiar.convert.anatomy.inventory import check_inventory, inventory
from limiar.convert.export.canonical import INPUT, canonical
from limiar.convert.source.blame import reason
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ConvertError
from limiar.edge_app.system.stderr import captured_stderr

_ONE = "one_of_erfc"
OPSET = 17  # the first with LayerNormalization; onnxruntime reads it since 1.12


def onnx_model(model: Any, spec: InputSpec) -> onnx.ModelProto:
    """A Keras model -> canonical fp32 ONNX, batch norm folded. Raises ConvertError with the converter's reason."""
    shape = (1, spec.height, spec.width, spec.channels)
    try:
        with captured_stderr(), _quiet_logging():
            # A freshly loaded .keras must be called once, or tf2onnx finds no weights; unless told otherwise it would train.
            model(np.zeros(shape, np.float32), training=False)
            function = tf.function(lambda image: model(image, training=False))
            signature = [tf.TensorSpec(shape, tf.float32, name=INPUT)]
            with _inlined():
                converted, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
            _without_erfc(converted)
            _keep_constants(converted, function.get_concrete_function(*signature))
            folded = _folded(converted)
    except Exception as error:  # tf2onnx raises ValueError, KeyError, RuntimeError for what it does not know
        raise _failed("tf2onnx", error) from error
    if len(folded.graph.input) != 1:
        names = ", ".join(given.name for given in folded.graph.input[:4])
        raise ConvertError("E-CONVERT-ONNX", f"tf2onnx left {len(folded.graph.input)} inputs ({names}): use a TFLite file")
    try:
        return canonical(folded)
    except ValueError as error:  # a loop or a branch: LSTM, GRU
        raise _failed("the canonical order", error) from None


def convert_onnx(model: onnx.ModelProto, precision: str, calibration: Pixels) -> bytes:
    """Canonical fp32 ONNX -> the bytes of an .onnx file. calibration: uint8 [N, H, W, C], for int8. Raises ConvertError."""
    try:
        with captured_stderr(), _quiet_logging():
            made = _MAKERS[precision](_copy(model), calibration)
            onnx.checker.check_model(made, full_check=True)
    except Exception as error:  # each tool has errors of its own
        raise _failed(f"the {precision} conversion", error) from error
    data = bytes(made.SerializeToString(deterministic=True))
    check_inventory(inventory("onnx", data))
    return data


def _fp32(model: onnx.ModelProto, calibration: Pixels) -> onnx.ModelProto:
    return model


def _fp16(model: onnx.ModelProto, calibration: Pixels) -> onnx.ModelProto:
    # Input and output stay float32, so that a device feeds every file in the same way.
    return canonical(convert_float_to_float16(model, keep_io_types=True))


def quantized(
    model: onnx.ModelProto, calibration: Pixels, activations: QuantType = QuantType.QUInt8, reduce_range: bool = True
) -> onnx.ModelProto:
    """Static QDQ, per channel: uint8 activations, int8 weights of 7 bits.

    With 8 bits a CPU without VNNI (AVX2 alone) saturates its 16-bit sums and answers differently from one that has it:
    tests/harness/avx2_parity.py shows both. QOperator models give wrong softmax values in onnxruntime <= 1.28.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            path,
            _Calibration(calibration),
            quant_format=QuantFormat.QDQ,
            activation_type=activations,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=reduce_range,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return canonical(onnx.load(path))


_MAKERS = {"fp32": _fp32, "fp16": _fp16, "int8": quantized}


class _Calibration(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, tensors: Pixels) -> None:
        self._tensors = iter(tensors)

    def get_next(self) -> dict[str, np.ndarray] | None:
        tensor = next(self._tensors, None)
        return None if tensor is None else {INPUT: tensor[np.newaxis].astype(np.float32)}


@contextmanager
def _inlined() -> Iterator[None]:
    """Functions inside the one that is traced become part of it: ONNX cannot call a function that XLA compiles.

    Keras compiles grouped convolutions with XLA, because a CPU computes them in no other way (Keras 3.15).
    """
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _without_erfc(model: onnx.ModelProto) -> None:
    """tf2onnx leaves GELU's Erfc as it is, which ONNX does not have: erfc(x) = 1 - erf(x)."""
    nodes = list(model.graph.node)
    if not any(node.op_type == "Erfc" for node in nodes):
        return
    model.graph.ClearField("node")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((), np.float32), _ONE))
    for node in nodes:
        if node.op_type == "Erfc":
            part = f"{node.output[0]}_erf"
            model.graph.node.append(onnx.helper.make_node("Erf", node.input, [part]))
            node = onnx.helper.make_node("Sub", [_ONE, part], node.output)
        model.graph.node.append(node)


def _keep_constants(model: onnx.ModelProto, function: Any) -> None:
    """Undoes that tf2onnx makes inputs of a function's constants that are not variables (a Normalization layer's)."""
    held = function.inputs[1:]  # after the image
    values = {inside.name: value for inside, value in zip(held, function.captured_inputs, strict=True)}
    inputs = list(model.graph.input)
    model.graph.ClearField("input")
    for given in inputs:
        if given.name in values:
            model.graph.initializer.append(onnx.numpy_helper.from_array(values[given.name].numpy(), given.name))
        else:
            model.graph.input.append(given)


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Batch norm and constants folded by onnxruntime's hardware-independent optimizations."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3  # errors
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(path)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Both tools change the model that they are given."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _failed(what: str, error: Exception) -> ConvertError:
    return ConvertError("E-CONVERT-ONNX", f"{what} failed ({reason(error)}): use a TFLite file")


@contextmanager
def _quiet_logging() -> Iterator[None]:
    """tf2onnx and the quantizer log advice that does not apply (preprocess first: done here)."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
