"""Makes tests/edge_app/data/wrong: model files that load and are not what a bundle of two labels and 40x40x3 pixels says.

    .venv/bin/python tests/edge_app/make_wrong_models.py

Needs the desktop install; the tests that use the files do not.
"""

import tempfile
from pathlib import Path

import flatbuffers
import keras
import numpy as np
import onnx
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper
from tensorflow.lite.python import schema_py_generated as schema

OUT = Path(__file__).parent / "data" / "wrong"
PIXELS = (1, 40, 40, 3)


def main() -> None:
    files = {f"{name}.onnx": model.SerializeToString() for name, model in onnx_models().items()}
    files |= {f"{name}.tflite": converted(model) for name, model in keras_models().items()}
    files |= {f"no_{what}.tflite": without(what, files["three_outputs.tflite"]) for what in ("input", "output")}
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
        "no_input": constant(),
        "grid_output": mean(float_pixels, outputs=2, shape=(1, 1, 2)),
        "weights_elsewhere": weights_elsewhere(float_pixels),
        "one_image_alone": one_image_alone(float_pixels),
    }


def constant() -> onnx.ModelProto:
    """A model that gives the same logits for every image."""
    logits = numpy_helper.from_array(np.ones((1, 2), np.float32), "always")
    return model([], [helper.make_node("Identity", ["always"], ["logits"])], 2, [logits])


def weights_elsewhere(image: onnx.ValueInfoProto) -> onnx.ModelProto:
    """A model whose weights [3, 2] are in a file `weights.bin` next to it: ONNX calls that external data."""
    shape = helper.make_tensor_value_info("weights", TensorProto.FLOAT, (3, 2))
    branches = {}
    for name in ("then_branch", "else_branch"):  # where ONNX Runtime's optimiser leaves it alone
        weights = TensorProto(name=f"{name}_file", data_type=TensorProto.FLOAT, dims=(3, 2), data_location=TensorProto.EXTERNAL)
        for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "24")):
            weights.external_data.add(key=key, value=value)
        shape = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, (3, 2))
        node = helper.make_node("Identity", [weights.name], [shape.name])
        branches[name] = helper.make_graph([node], name, [], [shape], [weights])
    nodes = [
        helper.make_node("If", ["true"], ["weights"], **branches),
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
    ]
    return model([image], nodes, 2, [numpy_helper.from_array(np.array(True), "true")], check=False)


def one_image_alone(image: onnx.ValueInfoProto) -> onnx.ModelProto:
    """A model that takes only images whose first value is 0, which is the index into a table of one row."""
    weights = numpy_helper.from_array(np.ones((3, 2), np.float32), "weights")
    more = {"begin": [0, 0, 0, 0], "end": [1, 1, 1, 1], "pair": [1, 1]}
    tables = [numpy_helper.from_array(np.array(value), name) for name, value in more.items()]
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["without"]),
        helper.make_node("Slice", ["image", "begin", "end"], ["corner"]),
        helper.make_node("Reshape", ["corner", "pair"], ["first"]),
        helper.make_node("Cast", ["first"], ["row"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "row"], ["found"], axis=0),
        helper.make_node("Add", ["without", "found"], ["logits"]),
    ]
    table = numpy_helper.from_array(np.ones(1, np.float32), "table")
    return model([image], nodes, 2, [weights, table, *tables])


def mean(
    image: onnx.ValueInfoProto,
    outputs: int,
    factor: float = 1.0,
    more: list[onnx.ValueInfoProto] | None = None,
    shape: tuple[int, ...] | None = None,
) -> onnx.ModelProto:
    """A model that gives the mean of each channel times a matrix [3, outputs], in another shape if that is given."""
    weights = numpy_helper.from_array(np.full((3, outputs), factor, np.float32), "weights")
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["flat" if shape else "logits"]),
    ]
    tables = [weights]
    if shape:
        nodes.append(helper.make_node("Reshape", ["flat", "shape"], ["logits"]))
        tables.append(numpy_helper.from_array(np.array(shape), "shape"))
    return model([image, *(more or [])], nodes, outputs, tables, shape=shape)


def endless(image: onnx.ValueInfoProto) -> onnx.ModelProto:
    """A model with a loop of 2**62 rounds, each of which adds to the mean."""
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
    inputs: list[onnx.ValueInfoProto],
    nodes: list[onnx.NodeProto],
    outputs: int,
    weights: list[onnx.TensorProto],
    shape: tuple[int, ...] | None = None,
    check: bool = True,
) -> onnx.ModelProto:
    """check: by ONNX's own checker, which looks for external data where it is run."""
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape or (1, outputs))
    graph = helper.make_graph(nodes, "wrong", inputs, [logits], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if check:
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


def without(what: str, model: bytes) -> bytes:
    """The same file, whose graph names no input, or no output."""
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    setattr(tree.subgraphs[0], f"{what}s", [])
    builder = flatbuffers.Builder(len(model))
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


if __name__ == "__main__":
    main()
