"""Noise by layer: every layer is there, an undamaged file raises nothing, and a damaged layer is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from limiar.convert.anatomy.flatbuffer import Graph
from limiar.convert.anatomy.layers import CEILING_DB, LayerNoise, layer_noise, too_noisy
from limiar.convert.pipeline import Converted
from limiar.convert.source import keras_model
from limiar.edge_app.arrays import Pixels
from scaled_layers import damages

FLOOR_DB = 25.0


@pytest.fixture(scope="module")
def model(run: Path) -> Any:
    return keras_model.keras.saving.load_model(run / "model.keras")


@pytest.fixture(scope="module")
def tensors(images: tuple[Path, Any]) -> Pixels:
    """Some of the validation images."""
    from PIL import Image

    folder, rows = images
    return np.stack([np.asarray(Image.open(folder / row.file)) for row in rows if row.split == "val"][:16])


@pytest.fixture(scope="module")
def noise(model: Any, converted: Converted, tensors: Pixels) -> tuple[LayerNoise, ...]:
    return layer_noise(model, converted.models["tflite_fp32"], converted.models["tflite_int8"], tensors)


def test_every_operator_of_the_integer_file_is_named_as_keras_names_it(noise: tuple[LayerNoise, ...], model: Any) -> None:
    operators = [layer.operator for layer in noise]
    assert operators == [*["DEPTHWISE_CONV_2D", "CONV_2D"] * 3, "MEAN", "FULLY_CONNECTED"]
    known = {layer.name for layer in model.layers}
    named = [layer.layer.split(" + ") for layer in noise]
    assert all(known.issuperset(names) for names in named)
    kinds = [[type(model.get_layer(name)).__name__ for name in names] for names in named]
    assert kinds[2] == kinds[3] == ["SeparableConv2D", "BatchNormalization", "ReLU"]
    assert kinds[-2:] == [["GlobalAveragePooling2D"], ["Dense"]]


def test_an_undamaged_file_is_above_the_floor_and_its_noise_gathers(noise: tuple[LayerNoise, ...]) -> None:
    assert too_noisy(noise, FLOOR_DB) == ()
    assert all(layer.snr_db is not None for layer in noise)
    convolutions = [layer for layer in noise if layer.operator == "CONV_2D"]
    for layer in convolutions[1:]:
        assert layer.snr_db is not None
        assert layer.cumulative_snr_db is not None
        assert layer.cumulative_snr_db < layer.snr_db


def test_every_layer_whose_scale_is_wrong_is_the_first_that_is_caught(
    noise: tuple[LayerNoise, ...], model: Any, converted: Converted, tensors: Pixels
) -> None:
    unseen = []
    for damage in damages(converted.models["tflite_int8"]):
        damaged = layer_noise(model, converted.models["tflite_fp32"], damage.data, tensors)
        if damage.weights:
            # Layers behind it may be caught too: what it gives them leaves the ranges that they were calibrated for.
            assert too_noisy(damaged, FLOOR_DB)[0].value == noise[damage.layer].value, damage.factor
        else:
            assert too_noisy(damaged, FLOOR_DB) == ()
            unseen.append(noise[damage.layer].operator)
    assert unseen == ["MEAN", "MEAN"]  # it has no weights; the scale of its value is read by whoever reads the value


@pytest.mark.parametrize(("name", "lowest"), [("tflite_fp32", CEILING_DB), ("tflite_fp16", 60), ("tflite_int16x8", 35)])
def test_a_more_precise_file_has_less_noise_in_every_layer(
    model: Any, converted: Converted, tensors: Pixels, name: str, lowest: float
) -> None:
    noise = layer_noise(model, converted.models["tflite_fp32"], converted.models[name], tensors)
    assert [layer.operator for layer in noise if layer.operator != "QUANTIZE"] == [
        *["DEPTHWISE_CONV_2D", "CONV_2D"] * 3,
        "MEAN",
        "FULLY_CONNECTED",
    ]
    assert all(layer.snr_db is not None and layer.snr_db >= lowest for layer in noise)


def test_the_file_whose_activations_are_quantized_as_they_come_has_every_layer_too(
    model: Any, converted: Converted, tensors: Pixels
) -> None:
    noise = layer_noise(model, converted.models["tflite_fp32"], converted.models["tflite_dynamic"], tensors)
    assert len(noise) == 8
    assert all(layer.snr_db is not None for layer in noise)


def test_a_layer_that_the_fp32_file_has_otherwise_is_listed_without_a_figure_of_its_own(
    noise: tuple[LayerNoise, ...], model: Any, converted: Converted, tensors: Pixels
) -> None:
    graph = Graph(converted.models["tflite_fp32"])
    split_off_the_relu(graph, place=3)
    found = layer_noise(model, graph.data(), converted.models["tflite_int8"], tensors)
    assert [layer.operator for layer in found] == [layer.operator for layer in noise]
    assert [layer.operator for layer in found if layer.snr_db is None] == ["CONV_2D"]
    assert found[-1] == noise[-1]


def split_off_the_relu(graph: Graph, place: int) -> None:
    """Moves the convolution's fused RELU6 into an operator of its own."""
    convolution = graph.main.operators[place]
    assert convolution.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.RELU6
    convolution.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
    made = int(convolution.outputs[0])
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = (
        "before",
        graph.main.tensors[made].shape,
        schema.TensorType.FLOAT32,
        0,
    )
    graph.main.tensors.append(tensor)
    convolution.outputs = np.array([len(graph.main.tensors) - 1], np.int32)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RELU6
    code.version = 1
    graph.model.operatorCodes.append(code)
    relu = schema.OperatorT()
    relu.opcodeIndex = len(graph.model.operatorCodes) - 1
    relu.inputs, relu.outputs = convolution.outputs, np.array([made], np.int32)
    graph.main.operators.insert(place + 1, relu)


def test_figures_are_the_same_when_measured_again(
    noise: tuple[LayerNoise, ...], model: Any, converted: Converted, tensors: Pixels
) -> None:
    again = layer_noise(model, converted.models["tflite_fp32"], converted.models["tflite_int8"], tensors)
    assert again == noise
    assert all(layer.snr_db == round(layer.snr_db, 1) for layer in again if layer.snr_db is not None)
