"""What a model file is made of, and what it must not be made of."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto

from limiar.convert.anatomy.flatbuffer import Graph
from limiar.convert.anatomy.inventory import Operator, check_full_integer, check_inventory, inventory
from limiar.convert.pipeline import Converted
from limiar.edge_app.errors import ConvertError


def test_the_integer_file_is_told_by_operator_and_version(converted: Converted) -> None:
    found = inventory("tflite", converted.models["tflite_int8"])
    assert {(operator.name, operator.count) for operator in found.operators} == {
        ("CONV_2D", 3),
        ("DEPTHWISE_CONV_2D", 3),
        ("FULLY_CONNECTED", 1),
        ("MEAN", 1),
    }
    assert all(operator.version >= 1 for operator in found.operators)
    assert (found.float_tensors, found.first_floats, found.flex) == (0, (), ())
    (given,), (output,) = found.inputs, found.outputs
    assert (given.type, given.shape, given.scale, given.zero_point) == ("INT8", (1, 24, 24, 3), 1.0, -128)
    assert (output.type, output.shape) == ("INT8", (1, 2))


def test_an_onnx_file_is_told_by_the_opset_that_last_changed_each_operator(converted: Converted) -> None:
    found = inventory("onnx", converted.models["onnx_fp32"])
    assert Operator("Conv", 11, 6) in found.operators
    assert found.float_tensors > 12
    assert len(found.first_floats) == 5
    assert [(port.name, port.type, port.shape) for port in found.inputs] == [("image", "FLOAT", (1, 24, 24, 3))]


def test_every_file_that_convert_made_passes(converted: Converted) -> None:
    for name, data in converted.models.items():
        check_inventory(inventory(name.partition("_")[0], data))


def changed_tflite(data: bytes, change: Callable[[Graph], None]) -> bytes:
    graph = Graph(data)
    change(graph)
    return graph.data()


def changed_onnx(data: bytes, change: Callable[[onnx.ModelProto], None]) -> bytes:
    model = onnx.load_from_string(data)
    change(model)
    return bytes(model.SerializeToString())


def need_tensorflow(graph: Graph) -> None:
    code = graph.model.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = "FlexErfinv"


def leave_the_batch_open(graph: Graph) -> None:
    graph.main.tensors[graph.main.inputs[0]].shapeSignature = np.array([-1, 24, 24, 3], np.int32)


def take_two_images(graph: Graph) -> None:
    graph.main.inputs = np.array([*graph.main.inputs, graph.main.outputs[0]], np.int32)


@pytest.mark.parametrize(
    ("change", "code"),
    [(need_tensorflow, "FLEX"), (leave_the_batch_open, "DYNAMIC"), (take_two_images, "INPUTS")],
)
def test_a_tflite_file_that_devices_cannot_run_is_refused(
    converted: Converted, change: Callable[[Graph], None], code: str
) -> None:
    data = changed_tflite(converted.models["tflite_fp32"], change)
    with pytest.raises(ConvertError, match=f"^E-CONVERT-{code}:"):
        check_inventory(inventory("tflite", data))


def need_a_library(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "somebody"
    model.opset_import.add(domain="somebody", version=1)


def leave_the_batch_open_too(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def take_two_images_too(model: onnx.ModelProto) -> None:
    model.graph.input.add().CopyFrom(model.graph.input[0])
    model.graph.input[1].name = "other"


def keep_weights_elsewhere(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (need_a_library, "FLEX"),
        (leave_the_batch_open_too, "DYNAMIC"),
        (take_two_images_too, "INPUTS"),
        (keep_weights_elsewhere, "EXTERNAL"),
    ],
)
def test_an_onnx_file_that_devices_cannot_run_is_refused(
    converted: Converted, change: Callable[[onnx.ModelProto], None], code: str
) -> None:
    data = changed_onnx(converted.models["onnx_fp32"], change)
    with pytest.raises(ConvertError, match=f"^E-CONVERT-{code}:"):
        check_inventory(inventory("onnx", data))


@pytest.mark.parametrize("model_format", ["tflite", "onnx"])
@pytest.mark.parametrize("data", [b"", b"no model", bytes(range(256)) * 8])
def test_what_is_no_model_is_refused(model_format: str, data: bytes) -> None:
    with pytest.raises(ConvertError, match="E-CONVERT-READ"):
        inventory(model_format, data)


@pytest.mark.parametrize("name", ["tflite_fp32", "tflite_dynamic", "tflite_int16x8"])
def test_a_file_with_floats_is_no_integer_file(converted: Converted, name: str) -> None:
    with pytest.raises(ConvertError, match="E-CONVERT-FLOAT"):
        check_full_integer(converted.models[name])


def test_an_integer_file_says_which_declared_layer_it_has_not_kept_in_float(converted: Converted) -> None:
    with pytest.raises(ConvertError, match="E-CONVERT-KEPT: TensorFlow did not keep some/layer"):
        check_full_integer(converted.models["tflite_int8"], ["some/layer"])
