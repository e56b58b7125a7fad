"""Layers that a CPU, TFLite or ONNX cannot compute directly: the exported files give the same answers in every format."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limiar.convert.export.make import Ground, Made, make_files
from limiar.convert.export.to_onnx import convert_onnx, onnx_model
from limiar.convert.export.to_tflite import convert_tflite
from limiar.convert.source.blame import layer_of, one_line, reason
from limiar.convert.source.ends import input_spec
from limiar.convert.source.frameworks import keras
from limiar.convert.source.keras_model import export_saved_model, keras_logits
from limiar.convert.source.portable import exportable, runnable
from limiar.edge_app.errors import ConvertError
from limiar.edge_app.runtimes import open_runtime

layers = keras.layers
SHAPE = (20, 16, 3)
IMAGES = np.random.default_rng(1).integers(0, 256, (20, *SHAPE), np.uint8)
IMAGES[0].flat[:2] = (0, 255)


def plain(*middle: Any) -> "keras.Model":
    start = [keras.Input(SHAPE), layers.Rescaling(1 / 255), layers.Conv2D(8, 3, padding="same")]
    return keras.Sequential([*start, *middle, layers.GlobalAveragePooling2D(), layers.Dense(3)])


def resized(**options: Any) -> "keras.Model":
    return keras.Sequential([keras.Input(SHAPE), layers.Resizing(9, 10, **options), *plain().layers])


def operated(**options: Any) -> "keras.Model":
    """Resized by keras.ops, which a functional model keeps as an operation of its own."""
    image = keras.Input(SHAPE)
    small = keras.ops.image.resize(image, (9, 10), **options)
    x = layers.Conv2D(8, 3, padding="same")(layers.Rescaling(1 / 255)(small))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def first(*middle: Any) -> "keras.Model":
    """Channels first inside, as a model from a GPU has them."""
    pool = layers.GlobalAveragePooling2D(data_format="channels_first")
    turned = layers.Permute((3, 1, 2))
    return keras.Sequential([keras.Input(SHAPE), layers.Rescaling(1 / 255), turned, *middle, pool, layers.Dense(3)])


def convnext() -> "keras.Model":
    image = keras.Input(SHAPE)
    x = layers.Conv2D(8, 4, strides=4)(layers.Rescaling(1 / 255)(image))
    deep = layers.LayerNormalization(epsilon=1e-6)(layers.Conv2D(8, 7, padding="same", groups=8)(x))
    x = x + layers.Dense(8)(layers.Activation("gelu")(layers.Dense(32)(deep)))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def transformer() -> "keras.Model":
    image = keras.Input(SHAPE)
    x = layers.Reshape((20, 12))(layers.Conv2D(12, 4, strides=4)(layers.Rescaling(1 / 255)(image)))
    normal = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 6)(normal, normal)
    x = x + layers.Dense(12)(layers.Dense(24, activation="gelu")(layers.LayerNormalization()(x)))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def preprocessed(family: Any) -> "keras.Model":
    image = keras.Input(SHAPE)
    x = layers.Conv2D(8, 3)(family.preprocess_input(image))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def sliced() -> "keras.Model":
    """BGR as people write it."""
    image = keras.Input(SHAPE)
    x = layers.Conv2D(8, 3)(image[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def nested(inner: "keras.Model") -> "keras.Model":
    return keras.Sequential([keras.Input(SHAPE), inner, layers.Dense(3)])


MODELS: dict[str, Callable[[], Any]] = {
    "grouped": lambda: plain(layers.Conv2D(8, 3, groups=4, activation="relu")),
    "grouped with strides": lambda: plain(layers.Conv2D(16, 3, groups=2, strides=2, padding="same")),
    "dilated": lambda: plain(layers.DepthwiseConv2D(3, dilation_rate=2, depth_multiplier=2, padding="same")),
    "dilated with strides": lambda: plain(layers.DepthwiseConv2D(3, dilation_rate=2, strides=2, padding="same")),
    "transposed": lambda: plain(layers.Conv2DTranspose(8, 3, strides=2)),
    "PReLU": lambda: plain(layers.PReLU(shared_axes=[1, 2])),
    "einsum": lambda: plain(layers.EinsumDense("bhwc,cd->bhwd", output_shape=(20, 16, 8), bias_axes="d")),
    "unrolled recurrence": lambda: keras.Sequential(
        [keras.Input(SHAPE), layers.Rescaling(1 / 255), layers.Reshape((20, 48)), layers.GRU(4, unroll=True), layers.Dense(3)]
    ),
    "GELU": lambda: plain(layers.Activation("gelu")),
    "group normalization": lambda: plain(layers.GroupNormalization(4)),
    "ConvNeXt": convnext,
    "transformer": transformer,
    "antialiased": lambda: resized(antialias=True),
    "bicubic": lambda: resized(interpolation="bicubic"),
    "lanczos": lambda: resized(interpolation="lanczos5", antialias=True),
    "bicubic operation": lambda: operated(interpolation="bicubic"),
    "antialiased operation": lambda: operated(antialias=True),
    "antialiased inside": lambda: nested(resized(antialias=True)),
    "channels first": lambda: first(layers.Conv2D(8, 3, strides=2, data_format="channels_first", activation="relu")),
    "channels first, grouped": lambda: first(
        layers.Conv2D(8, 3, data_format="channels_first"), layers.Conv2D(8, 3, groups=2, data_format="channels_first")
    ),
    "channels first, transposed": lambda: first(layers.Conv2DTranspose(8, 3, data_format="channels_first", activation="relu")),
    "channels first, pooled": lambda: first(
        layers.MaxPooling2D(2, data_format="channels_first"),
        layers.BatchNormalization(axis=1),
        layers.SeparableConv2D(8, 3, data_format="channels_first"),
    ),
    "channels first inside": lambda: nested(first(layers.Conv2D(8, 3, data_format="channels_first"))),
    "caffe": lambda: preprocessed(keras.applications.resnet50),
    "torch": lambda: preprocessed(keras.applications.densenet),
    "tf": lambda: preprocessed(keras.applications.mobilenet_v2),
    "BGR": sliced,
    "a fixed batch": lambda: keras.Sequential([keras.Input(SHAPE, batch_size=8), *plain().layers]),
    "a fixed batch inside": lambda: keras.Sequential(
        [keras.Input(SHAPE, batch_size=8), keras.Sequential([keras.Input(SHAPE, batch_size=8), *plain().layers])]
    ),
}
# TFLite leaves some of its tensors float in one process and none in another, from the same model: `limiar convert` names the
# file that it then leaves out.
SOMETIMES_FLOAT = {"unrolled recurrence"}
FLOAT = {"group normalization", "ConvNeXt", "transformer"}  # TFLite has no integer kernel for what LayerNormalization computes


@pytest.mark.parametrize("name", list(MODELS))
def test_every_format_gives_what_keras_gives(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    model = MODELS[name]()
    spec = input_spec(model, "m.keras")
    model = runnable(model, SHAPE)
    expected = keras_logits(model, IMAGES)
    largest = float(np.abs(expected).max())
    exported = exportable(model)
    np.testing.assert_allclose(keras_logits(exported, IMAGES), expected, atol=1e-5 * largest)
    export_saved_model(exported, spec, tmp_path / "saved")
    graph = onnx_model(exported, spec)
    files = {
        "tflite fp32": ("litert", lambda: convert_tflite(tmp_path / "saved", "fp32", IMAGES), 1e-5),
        "tflite int8": ("litert", lambda: convert_tflite(tmp_path / "saved", "int8", IMAGES), 0.15),
        "onnx fp32": ("onnxruntime", lambda: convert_onnx(graph, "fp32", IMAGES), 1e-5),
        "onnx int8": ("onnxruntime", lambda: convert_onnx(graph, "int8", IMAGES), 0.15),
    }
    for file, (runtime, make, tolerance) in files.items():
        if file == "tflite int8" and name in FLOAT:
            with pytest.raises(ConvertError, match="E-CONVERT-FLOAT"):
                make()
            continue
        try:
            made = make()
        except ConvertError as error:
            if file == "tflite int8" and name in SOMETIMES_FLOAT and error.code == "E-CONVERT-FLOAT":
                continue
            raise
        opened = open_runtime(runtime, made)
        found = np.stack([opened.logits(image[None]) for image in IMAGES]).reshape(expected.shape)
        np.testing.assert_allclose(found, expected, atol=tolerance * largest, err_msg=file)


def test_channels_first_gives_what_the_same_weights_give_with_channels_last() -> None:
    keras.utils.set_random_seed(2)
    options = {"strides": 2, "padding": "same", "activation": "relu"}
    last = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(6, 3, **options),
            layers.Conv2DTranspose(4, 3, **options),
            layers.GlobalMaxPooling2D(),
        ]
    )
    turned = keras.Sequential(
        [
            keras.Input((3, 20, 16)),
            layers.Conv2D(6, 3, data_format="channels_first", **options),
            layers.Conv2DTranspose(4, 3, data_format="channels_first", **options),
            layers.GlobalMaxPooling2D(data_format="channels_first"),
        ]
    )
    turned.set_weights(last.get_weights())
    found = keras_logits(runnable(turned, SHAPE), IMAGES)
    np.testing.assert_allclose(found, keras_logits(last, IMAGES), rtol=1e-5, atol=1e-3)


def test_a_model_that_needs_nothing_stays_the_very_model() -> None:
    for model in (plain(), preprocessed(keras.applications.mobilenet_v2)):
        assert exportable(runnable(model, SHAPE)) is model


def test_a_model_of_any_size_is_fixed_to_the_size_that_is_given() -> None:
    model = keras.Sequential([keras.Input((None, None, 3)), *plain().layers])
    fixed = runnable(model, SHAPE)
    assert fixed.inputs[0].shape == (None, *SHAPE)
    np.testing.assert_allclose(keras_logits(fixed, IMAGES), np.asarray(model(IMAGES.astype(np.float32))), rtol=1e-4, atol=1e-4)


# What cannot be had.


def test_a_file_that_cannot_be_made_names_the_keras_layer(tmp_path: Path) -> None:
    image = keras.Input(SHAPE)
    strange = layers.Activation(keras.ops.erfinv, name="strange")
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(strange(layers.Rescaling(1 / 512)(image)))))
    ground = Ground(IMAGES, IMAGES, 0.0, lambda data, step: False)
    made = make_files(model, input_spec(model, "m"), ground, lambda text, *files: None)
    for name in ("tflite_fp32", "tflite_int8", "onnx_fp32"):
        error = made[name]
        assert not isinstance(error, Made)
        assert "layer strange (Activation): " in error.message
        assert "\n" not in error.message


def test_a_layer_that_keras_cannot_run_is_one_line_that_names_it(capfd: pytest.CaptureFixture[str]) -> None:
    model = plain(layers.Discretization([0.1, 0.5], name="binned"), layers.Conv2D(4, 3, name="second"))
    with pytest.raises(ConvertError, match=r"E-CONVERT-KERAS: Keras does not run the model here") as refused:
        keras_logits(model, IMAGES)
    assert "one of its Conv2D" in refused.value.message
    assert "\n" not in refused.value.message
    assert len(refused.value.message) < 500
    assert capfd.readouterr().err == ""


def test_a_framework_s_report_is_cut_to_its_reason() -> None:
    text = """Graph execution error:

Detected at node sequential_34_1/conv2d_37_1/convolution defined at (most recent call last):
  File "/tmp/ops.py", line 102, in <module>
The Conv2D op currently only supports the NHWC tensor format on the CPU.
\t [[{{node sequential_34_1/conv2d_37_1/convolution}}]] [Op:__inference_one_step]"""
    assert reason(ValueError(text)) == "The Conv2D op currently only supports the NHWC tensor format on the CPU."
    model = keras.Sequential([keras.Input(SHAPE), layers.Conv2D(3, 3, name="conv2d_37"), layers.Conv2D(3, 3, name="conv2d_3")])
    assert layer_of(model, ValueError(text)) == "conv2d_37 (Conv2D)"
    assert layer_of(model, ValueError("nothing known")) is None
    told = r"E-X: it fails \(layer conv2d_37 \(Conv2D\): The Conv2D op .*\): do this"
    with pytest.raises(ConvertError, match=told), one_line("E-X", "it fails", "do this", model):
        raise RuntimeError(text)


def test_a_line_that_a_framework_repeats_is_said_once() -> None:
    line = "Quantization to 16x8-bit not yet supported for op: 'HARD_SWISH'."
    assert reason(RuntimeError("\n".join([line] * 4))) == line
