"""Makes tests/edge_app/data/wrong: model files that load and are not what a bundle of two labels and 40x40x3 pixels says.

    .venv/bin/python tests/edge_app/make_wrong_models.py

Needs the desktop install; the tests that use the files do not.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

OUT = Path(__file__).parent / "data" / "wrong"
PIXELS = (1, 40, 40, 3)


def main() -> None:
    files = {f"{name}.onnx": model.SerializeToString() for name, model in onnx_models().items()}
    files |= {f"{name}.tflite": converted(model) for name, model in keras_models().items()}
    OUT.mkdir(exist_ok=True)
    for name, data in files.items():
        (OUT / name).write_bytes(data)
        print(f"{len(data):7d}  {name}")


def onnx_models() -> dict[str, onnx.ModelProto]:
    float_pixels = helper.make_tensor_value_info("image", TensorProto.FLOAT, PIXELS)
    return {
        "three_outputs": mean(float_pixels, outputs=3),
        "other_size": mean(helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 32, 32, 3)), outputs=2),
        "two_inputs": mean(float_pixels, outputs=2, more=[helper.make_tensor_value_info("age", TensorProto.FLOAT, (1, 1))]),
        "text_input": mean(helper.make_tensor_value_info("image", TensorProto.STRING, PIXELS), outputs=2),
        "not_a_number": mean(float_pixels, outputs=2, factor=float("nan")),
        "endless": endless(float_pixels),
    }


def mean(
    image: onnx.ValueInfoProto, outputs: int, factor: float = 1.0, more: list[onnx.ValueInfoProto] | None = None
) -> onnx.ModelProto:
    """The mean of each channel, times a matrix [3, outputs]."""
    weights = numpy_helper.from_array(np.full((3, outputs), factor, np.float32), "weights")
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
    ]
    return model([image, *(more or [])], nodes, outputs, [weights])


def endless(image: onnx.ValueInfoProto) -> onnx.ModelProto:
    """A loop of 2**62 rounds, each of which adds to the mean."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["so_far", "so_far"], ["then"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, ()),
            helper.make_tensor_value_info("go", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("so_far", TensorProto.FLOAT, (1, 2)),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("then", TensorProto.FLOAT, (1, 2)),
        ],
    )
    weights = numpy_helper.from_array(np.ones((3, 2), np.float32), "weights")
    rounds = numpy_helper.from_array(np.array(1 << 62, np.int64), "rounds")
    true = numpy_helper.from_array(np.array(True), "true")
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["begin"]),
        helper.make_node("Loop", ["rounds", "true", "begin"], ["logits"], body=body),
    ]
    return model([image], nodes, 2, [weights, rounds, true])


def model(
    inputs: list[onnx.ValueInfoProto], nodes: list[onnx.NodeProto], outputs: int, weights: list[onnx.TensorProto]
) -> onnx.ModelProto:
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, outputs))
    graph = helper.make_graph(nodes, "wrong", inputs, [logits], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def keras_models() -> dict[str, keras.Model]:
    def network(shape: tuple[int, int, int], outputs: int) -> keras.Model:
        layers = [keras.Input(shape), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(outputs)]
        return keras.Sequential(layers)

    return {
        "three_outputs": network(PIXELS[1:], 3),
        "other_size": network((32, 32, 3), 2),
        "two_inputs": two_inputs(keras.Input(PIXELS[1:])),
    }


def two_inputs(image: keras.KerasTensor) -> keras.Model:
    age = keras.Input((1,))
    both = keras.layers.Concatenate()([keras.layers.GlobalAveragePooling2D()(image), age])
    return keras.Model([image, age], keras.layers.Dense(2)(both))


def converted(network: keras.Model) -> bytes:
    with tempfile.TemporaryDirectory() as saved:
        signature = [keras.InputSpec(shape=(1, *one.shape[1:]), dtype="float32") for one in network.inputs]
        network.export(saved, input_signature=[signature] if len(signature) > 1 else signature, verbose=False)
        return bytes(tf.lite.TFLiteConverter.from_saved_model(saved).convert())


if __name__ == "__main__":
    main()
