"""SavedModel -> TFLite bytes in five precisions, and what must hold for the integer file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from convert.inventory import check_full_integer, check_inventory, inventory
from edge_app.errors import ConvertError
from edge_app.frame import Pixels
from edge_app.stderr import captured_stderr


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
    check_inventory(inventory("tflite", data))
    if precision == "int8":
        check_full_integer(data)
    return data


def _one_by_one(calibration: Pixels) -> Iterator[list[np.ndarray]]:
    for i in range(len(calibration)):
        yield [calibration[i : i + 1].astype(np.float32)]
