"""Keras -> ONNX: three precisions, and the same bytes whatever the order and the names were."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from limiar.convert.export.canonical import canonical
from limiar.convert.export.to_onnx import convert_onnx, onnx_model
from limiar.convert.pipeline import Converted
from limiar.convert.source.frameworks import keras
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ConvertError
from limiar.edge_app.runtimes import open_runtime

FILES = ("onnx_fp32", "onnx_fp16", "onnx_int8")


@pytest.mark.parametrize(("name", "largest"), [("onnx_fp32", 1e-4), ("onnx_fp16", 0.1), ("onnx_int8", 1.0)])
def test_a_file_gives_the_keras_logits(converted: Converted, name: str, largest: float) -> None:
    test = next(file for file in converted.report.files if file.name == name).test
    assert test is not None
    assert test.largest_difference is not None
    assert test.largest_difference < largest


@pytest.mark.parametrize("name", FILES)
def test_a_file_takes_raw_pixels_in_one_fixed_shape_and_carries_no_notes(converted: Converted, name: str) -> None:
    model = onnx.load_from_string(converted.models[name])
    onnx.checker.check_model(model, full_check=True)
    (given,), (output,) = model.graph.input, model.graph.output
    assert given.type.tensor_type.elem_type == output.type.tensor_type.elem_type == TensorProto.FLOAT
    assert [dim.dim_value for dim in given.type.tensor_type.shape.dim] == [1, 24, 24, 3]
    assert [dim.dim_value for dim in output.type.tensor_type.shape.dim] == [1, 2]
    assert (given.name, output.name) == ("image", "logits")
    assert {opset.domain for opset in model.opset_import} <= {"", "com.microsoft"}
    assert not model.metadata_props
    assert not model.doc_string + model.graph.doc_string
    assert not [weight.name for weight in model.graph.initializer if weight.external_data]


def test_the_integer_file_is_static_per_channel_and_leaves_a_bit_for_processors_without_vnni(converted: Converted) -> None:
    model = onnx.load_from_string(converted.models["onnx_int8"])
    operators = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    assert "DynamicQuantizeLinear" not in operators
    weights = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    kernels = [array for array in weights.values() if array.dtype == np.int8 and array.ndim == 4]
    assert len(kernels) == 6  # three separable convolutions
    assert max(int(np.abs(kernel.astype(int)).max()) for kernel in kernels) <= 64
    scales = {array.size for array in weights.values() if array.dtype == np.float32 and array.ndim == 1}
    assert {3, 12, 16} <= scales  # one for each channel


def test_nodes_in_another_order_under_other_names_give_the_same_bytes(converted: Converted) -> None:
    model = onnx.load_from_string(converted.models["onnx_int8"])
    other = onnx.ModelProto()
    other.CopyFrom(model)
    rename(other, lambda name: f"other_{hash(name) % 10_000}_{name}")
    for part in (other.graph.node, other.graph.initializer):
        shuffled = list(part)
        np.random.default_rng(1).shuffle(shuffled)
        del part[:]
        part.extend(shuffled)
    other.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "used by nobody"))
    other.doc_string, other.producer_version = "made at noon", "1.2.3"
    assert other.SerializeToString() != model.SerializeToString()
    assert canonical(other).SerializeToString(deterministic=True) == converted.models["onnx_int8"]


def rename(model: onnx.ModelProto, new: Callable[[str], str]) -> None:
    for node in model.graph.node:
        node.name = new(node.name)
        node.input[:] = [new(name) if name else "" for name in node.input]
        node.output[:] = [new(name) for name in node.output]
    for value in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        value.name = new(value.name)


def test_a_graph_with_more_outputs_than_logits_and_map_is_not_ordered() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["x"], ["y"])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "yxx"]
    with pytest.raises(ValueError, match="only graphs of logits, with a map or without"):
        canonical(helper.make_model(helper.make_graph([node], "g", [value], outputs)))


def test_what_tf2onnx_cannot_convert_is_refused_with_its_reason() -> None:
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(keras.ops.erfinv(image))))
    with pytest.raises(ConvertError, match="E-CONVERT-ONNX"):
        onnx_model(model, InputSpec(8, 8, 3))


def test_a_freshly_loaded_model_keeps_its_weights(run: Path) -> None:
    model = keras.saving.load_model(run / "model.keras")
    image = np.random.default_rng(0).integers(0, 256, (1, 24, 24, 3), np.uint8)
    data = convert_onnx(onnx_model(model, InputSpec(24, 24, 3)), "fp32", image)
    expected = model.predict(image.astype(np.float32), verbose=0)[0]
    np.testing.assert_allclose(open_runtime("onnxruntime", data).logits(image), expected, atol=1e-4)


def test_a_model_with_a_loop_is_refused_with_a_code() -> None:
    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Reshape((8, 24)), layers.LSTM(4), layers.Dense(3)])
    with pytest.raises(ConvertError, match="control flow") as refusal:
        onnx_model(model, InputSpec(8, 8, 3))
    assert refusal.value.code == "E-CONVERT-ONNX"
