"""Makes tests/edge_app/data/bare: small models that are not image classifiers, for `limiar bench MODEL`.

    .venv/bin/python tests/edge_app/make_bare_models.py

Needs the desktop install; the tests that use the files do not.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

OUT = Path(__file__).parent / "data" / "bare"
KINDS = ("UINT8", "INT8", "INT16", "INT32", "INT64", "FLOAT16", "FLOAT", "DOUBLE", "BOOL")


def main() -> None:
    files = {
        "every_type.onnx": every_type(),
        "open.onnx": open_dimensions(),
        "sequence.onnx": sequence(),
        "open.tflite": converted(small_network(), None),
        "words.tflite": converted(words(), 1),
        "matrices.onnx": matrices(),
    }
    OUT.mkdir(exist_ok=True)
    for name, data in files.items():
        (OUT / name).write_bytes(data)
        print(f"{len(data):7d}  {name}")


def every_type() -> bytes:
    """An input of each type that an array can have, and an output for each."""
    inputs = [helper.make_tensor_value_info(f"in_{kind}", getattr(TensorProto, kind), (1, 3)) for kind in KINDS]
    outputs = [helper.make_tensor_value_info(f"out_{kind}", TensorProto.FLOAT, (1, 3)) for kind in KINDS]
    nodes = [helper.make_node("Cast", [f"in_{kind}"], [f"out_{kind}"], to=TensorProto.FLOAT) for kind in KINDS]
    return model(nodes, inputs, outputs)


def open_dimensions() -> bytes:
    """A batch and a length that the file leaves open, one by name and one without."""
    given = helper.make_tensor_value_info("signal", TensorProto.FLOAT, ("batch", 4, None))
    gives = helper.make_tensor_value_info("louder", TensorProto.FLOAT, ("batch", 4, None))
    return model([helper.make_node("Add", ["signal", "signal"], ["louder"])], [given], [gives])


def sequence() -> bytes:
    """Its output is a list of arrays."""
    given = helper.make_tensor_value_info("signal", TensorProto.FLOAT, (1, 4))
    gives = helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None)
    return model([helper.make_node("SplitToSequence", ["signal"], ["parts"], axis=1)], [given], [gives])


def matrices() -> bytes:
    """Matrix products: [2, 3, 5] x [5, 7], with weights; and two inputs [4, 6] x [6, 8]."""
    rng = np.random.default_rng(1)
    weights = numpy_helper.from_array(rng.normal(size=(5, 7)).astype(np.float32), "weights")
    shapes = {"left": (2, 3, 5), "one": (4, 6), "other": (6, 8)}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("product", (2, 3, 7)), ("both", (4, 8)))
    ]
    nodes = [
        helper.make_node("MatMul", ["left", "weights"], ["product"]),
        helper.make_node("Gemm", ["one", "other"], ["both"]),
    ]
    return model(nodes, inputs, outputs, (weights,))


def model(nodes: list, inputs: list, outputs: list, weights: tuple = ()) -> bytes:
    graph = helper.make_graph(nodes, "bare", inputs, outputs, list(weights))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def small_network() -> keras.Model:
    """A layer of each kind that multiplies; 8x8x4 pixels."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            keras.layers.DepthwiseConv2D(3, padding="same"),
            keras.layers.Conv2D(6, 1),
            keras.layers.Conv2DTranspose(5, 3, strides=2, padding="same"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )


def words() -> keras.Model:
    """Its input is a row of numbers of words."""
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((6,), dtype="int32"), keras.layers.Embedding(20, 4), keras.layers.Flatten()])


def converted(network: keras.Model, batch: int | None) -> bytes:
    given = network.inputs[0]
    with tempfile.TemporaryDirectory() as saved:
        shape = keras.InputSpec(shape=(batch, *given.shape[1:]), dtype=given.dtype)
        network.export(saved, input_signature=[shape], verbose=False)
        return tf.lite.TFLiteConverter.from_saved_model(saved).convert()


if __name__ == "__main__":
    main()
