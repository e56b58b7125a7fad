"""SavedModel -> TFLite bytes in five precisions, and what the integer file must fulfil."""

import itertools
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from limiar.convert.source.frameworks import tf  # isort: skip  # before anything else imports TensorFlow
import numpy as np
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.lite.python.convert import mlir_quantize

from limiar.convert.anatomy.flatbuffer import Graph
from limiar.convert.anatomy.inventory import check_full_integer, check_inventory, inventory
from limiar.convert.source.blame import reason
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.errors import ConvertError, RuntimeUnavailable
from limiar.edge_app.runtimes import open_runtime
from limiar.edge_app.system.stderr import captured_stderr

_CALIBRATED = ("int8", "int16x8")
_CONTROL_FLOW = {"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"}


def convert_tflite(saved_model: Path, precision: str, calibration: Pixels, float_layers: Collection[str] = ()) -> bytes:
    """A SavedModel -> .tflite bytes with a fixed batch of 1, raw pixels in, logits out, and a map if the model has one.

    calibration: uint8 [N, H, W, C], for int8 and int16x8. float_layers: LayerNoise.value of the layers that an int8 file keeps
    in float32. Raises ConvertError with the converter's reason.
    """
    if precision in _CALIBRATED:
        _check_calibrates(saved_model)
    if float_layers:
        if precision != "int8":
            raise ValueError(f"{precision} files keep no layers in float")
        return keep_in_float(calibrated(saved_model, calibration), float_layers)
    data = logits_first(_converted(_converter(saved_model, precision, calibration)))
    check_inventory(inventory("tflite", data))
    if precision == "int8":
        check_full_integer(data)
    _check_loads(data)
    return data


def calibrated(saved_model: Path, calibration: Pixels) -> bytes:
    """The float model with the range of every value, as seen in the calibration images: what `keep_in_float` starts from."""
    converter = _converter(saved_model, "int8", calibration)
    converter._experimental_calibrate_only = True
    return _converted(converter)


def keep_in_float(calibrated: bytes, float_layers: Collection[str]) -> bytes:
    """An int8 file in which some layers compute in float32, between DEQUANTIZE and QUANTIZE. Raises ConvertError.

    TensorFlow's selective quantization (tf.lite.experimental.QuantizationDebugger) calls the same function, but cannot be told
    that pixels are int8.
    """

    def quantize() -> bytes:
        made: bytes = mlir_quantize(
            calibrated,
            fully_quantize=False,  # True takes the ranges from elsewhere: -2.6 dB in the first layer (TF 2.21)
            input_data_type=tf.int8,
            output_data_type=tf.int8,
            denylisted_nodes=sorted(float_layers),
            disable_per_channel_for_dense_layers=True,
        )
        return made

    data = logits_first(_reasoned(quantize))
    check_inventory(inventory("tflite", data))
    check_full_integer(data, float_layers)
    return data


def _converter(saved_model: Path, precision: str, calibration: Pixels) -> tf.lite.TFLiteConverter:
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    converter.exclude_conversion_metadata = True  # it is the TensorFlow version and nothing that a device reads
    if precision != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        # Per-channel dense layers become FULLY_CONNECTED version 12, which tflite-runtime 2.14.0 refuses to load.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if precision in _CALIBRATED:
        converter.representative_dataset = lambda: _one_by_one(calibration)
    if precision == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        # A uint8 input would begin with a QUANTIZE, which no delegate takes and which only turns each pixel's first bit: 3.1 of
        # 13.6 us for the reference model (Zen 5). edge_app/runtimes/interpreter.py turns them in 0.8 us.
        converter.inference_input_type = converter.inference_output_type = tf.int8
    if precision == "int16x8":
        ops = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [ops]
    return converter


def _converted(converter: tf.lite.TFLiteConverter) -> bytes:
    return _reasoned(converter.convert)


def _reasoned(convert: Callable[[], bytes]) -> bytes:
    try:
        with captured_stderr():
            return bytes(convert())
    except Exception as error:  # ConverterError, RuntimeError, ValueError, depending on the pass that gave up
        raise ConvertError("E-CONVERT-TFLITE", f"TensorFlow cannot make it ({reason(error)}): use another file") from error


def _check_calibrates(saved_model: Path) -> None:
    """TensorFlow's calibrator ends the process with SIGSEGV if a graph has a loop or a branch (LSTM and GRU, TF 2.21)."""
    graph = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    nodes = itertools.chain(graph.node, *(function.node_def for function in graph.library.function))
    if found := sorted({node.op for node in nodes} & _CONTROL_FLOW):
        met = f"TensorFlow cannot calibrate a model with a loop or a branch ({', '.join(found)})"
        raise ConvertError("E-CONVERT-TFLITE", f"{met}: give recurrent layers unroll=True, or use another file")


def _check_loads(data: bytes) -> None:
    """TensorFlow makes some files that no runtime loads (int16x8 scales that overflow, TF 2.21): refused here."""
    try:
        open_runtime("litert", data)
    except RuntimeUnavailable as error:
        met = f"LiteRT does not load what TensorFlow made ({error.message[:200]})"
        raise ConvertError("E-CONVERT-TFLITE", f"{met}: use another file") from None


def logits_first(data: bytes) -> bytes:
    """A file with its outputs in a bundle's order, logits [1, K], then the map [1, h, w, K]; with one output it stays as it is.

    TensorFlow lists them in another order than the model (TF 2.21).
    """
    graph = Graph(data)
    ordered = sorted(map(int, graph.main.outputs), key=lambda index: len(graph.shape(index)))
    if ordered == list(graph.main.outputs):
        return data
    graph.main.outputs = np.array(ordered, np.int32)
    return graph.data()


def _one_by_one(calibration: Pixels) -> Iterator[list[np.ndarray]]:
    for i in range(len(calibration)):
        yield [calibration[i : i + 1].astype(np.float32)]
