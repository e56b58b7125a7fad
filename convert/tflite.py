"""SavedModel -> TFLite bytes in five precisions, and what must hold for the integer file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from convert.frameworks import tf
from edge_app.errors import ConvertError
from edge_app.frame import Pixels
from edge_app.stderr import captured_stderr

_TYPE_NAMES = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
_FLOATS = frozenset({"FLOAT16", "FLOAT32", "FLOAT64", "BFLOAT16"})


def convert_tflite(saved_model: Path, precision: str, calibration: Pixels) -> bytes:
    """A SavedModel -> a .tflite file with a fixed batch of 1, that takes raw pixels and gives logits.

    calibration: uint8 [N, H, W, C], for int8 and int16x8. Raises ConvertError with the converter's reason.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    converter.exclude_conversion_metadata = True  # it holds the TensorFlow version and nothing that a device reads
    if precision != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        # Per-channel dense layers become FULLY_CONNECTED version 12, which tflite-runtime 2.14.0 refuses to load.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if precision in ("int8", "int16x8"):
        converter.representative_dataset = lambda: _one_by_one(calibration)
    if precision == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8  # of a float input: a Keras input of dtype uint8 would put CAST into the file
        converter.inference_output_type = tf.int8
    if precision == "int16x8":
        ops = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [ops]
    try:
        with captured_stderr():
            data = bytes(converter.convert())
    except Exception as error:  # ConverterError, RuntimeError, ValueError, depending on the pass that gave up
        reason = " ".join(str(error).split())[:200]
        raise ConvertError("E-CONVERT-TFLITE", f"TensorFlow cannot make it ({reason}): use another file") from None
    if precision == "int8":
        check_full_integer(data)
    return data


def logit_step(data: bytes) -> float | None:
    """The scale of a quantized output: the smallest difference of two logits. None where the output is float32."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    output = model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]]
    return None if _TYPE_NAMES[output.type] == "FLOAT32" else float(output.quantization.scale[0])


def check_full_integer(data: bytes) -> None:
    """An integer file reads raw pixels, gives int8 and computes no float, or else raises ConvertError."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    floats = [
        f"{tensor.name.decode(errors='replace')} {_TYPE_NAMES[tensor.type]}"
        for graph in model.subgraphs
        for tensor in graph.tensors
        if _TYPE_NAMES[tensor.type] in _FLOATS
    ]
    if floats:
        met = f"the integer file holds {len(floats)} float tensors, {floats[0]} first"
        raise ConvertError("E-CONVERT-FLOAT", f"{met}: replace the layer that has no integer kernel")
    main = model.subgraphs[0]
    given, output = main.tensors[main.inputs[0]], main.tensors[main.outputs[0]]
    quantization = (_TYPE_NAMES[given.type], list(given.quantization.scale), list(given.quantization.zeroPoint))
    if quantization != ("UINT8", [1.0], [0]):
        met = f"the integer file's input is {quantization}, not uint8 with scale 1.0 and zero point 0"
        raise ConvertError("E-CONVERT-SCALE", f"{met}: raw pixels would be misread; scaling belongs into the graph")
    if _TYPE_NAMES[output.type] != "INT8":
        met = f"the integer file's output is {_TYPE_NAMES[output.type]}, not INT8"
        raise ConvertError("E-CONVERT-FLOAT", f"{met}: the last layer must have an integer kernel")


def _one_by_one(calibration: Pixels) -> Iterator[list[np.ndarray]]:
    for i in range(len(calibration)):
        yield [calibration[i : i + 1].astype(np.float32)]
