"""Keras -> TFLite: five precisions, and what must hold for the integer file."""

from pathlib import Path

import numpy as np
import pytest

from limiar.convert.anatomy.inventory import check_full_integer
from limiar.convert.export.to_tflite import convert_tflite
from limiar.convert.pipeline import Converted
from limiar.convert.run.dataset import full_range
from limiar.convert.source import keras_model
from limiar.convert.source.frameworks import keras
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ConvertError
from limiar.edge_app.runtimes import open_runtime

SIDE_PX = 24


@pytest.fixture(scope="module")
def saved_model(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = keras.saving.load_model(run / "model.keras")
    folder = tmp_path_factory.mktemp("saved") / "model"
    keras_model.export_saved_model(model, InputSpec(SIDE_PX, SIDE_PX, 3), folder)
    return folder


def dim_images(count: int) -> Pixels:
    """Pixels in 40..167, as of an X-ray that uses half of its range."""
    return np.random.default_rng(0).integers(40, 168, (count, SIDE_PX, SIDE_PX, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "largest"),  # of a logit, where the largest is 10: an int8 step is 0.08, and the errors of layers add up
    [("tflite_fp32", 1e-4), ("tflite_fp16", 0.1), ("tflite_dynamic", 0.2), ("tflite_int8", 0.8), ("tflite_int16x8", 0.8)],
)
def test_a_file_gives_the_keras_logits(converted: Converted, name: str, largest: float) -> None:
    file = next(file for file in converted.report.files if file.name == name)
    for result in file.runtimes:
        assert result.test is not None
        assert result.test.largest_difference is not None
        assert result.test.largest_difference < largest, result.runtime


def test_the_integer_file_reads_raw_pixels_and_computes_no_float(converted: Converted) -> None:
    data = converted.models["tflite_int8"]
    check_full_integer(data)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    (given,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (given["dtype"], given["quantization"]) == (np.uint8, (1.0, 0))
    assert list(given["shape"]) == [1, SIDE_PX, SIDE_PX, 3]
    assert output["dtype"] == np.int8
    assert not [tensor["name"] for tensor in interpreter.get_tensor_details() if np.issubdtype(tensor["dtype"], np.floating)]


def test_without_an_image_of_the_full_range_the_integer_file_would_misread_pixels(saved_model: Path) -> None:
    with pytest.raises(ConvertError, match="E-CONVERT-SCALE"):
        convert_tflite(saved_model, "int8", dim_images(20))


def test_one_image_of_the_full_range_is_enough(saved_model: Path) -> None:
    images = dim_images(20)
    data = convert_tflite(saved_model, "int8", np.concatenate([images, full_range(images[:1])]))
    assert open_runtime("litert", data).logits(images[:1]).shape == (2,)


def test_a_file_is_the_same_when_made_again_in_the_same_process(saved_model: Path) -> None:
    images = np.concatenate([dim_images(20), full_range(dim_images(1))])
    for precision in ("fp32", "int8"):
        assert convert_tflite(saved_model, precision, images) == convert_tflite(saved_model, precision, images)


def test_what_tensorflow_cannot_convert_is_refused_with_its_reason(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    real, _ = keras.ops.fft((image, image * 0))  # no TFLite built-in operator of any kind
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(keras.ops.erfinv(real))))
    keras_model.export_saved_model(model, InputSpec(8, 8, 3), tmp_path / "model")
    with pytest.raises(ConvertError, match="E-CONVERT-TFLITE: TensorFlow cannot make it"):
        convert_tflite(tmp_path / "model", "fp32", np.zeros((0, 8, 8, 3), np.uint8))


def test_layers_that_augment_while_training_are_left_out(tmp_path: Path) -> None:
    """As in Keras's own guides: RandomFlip and the like inside the model."""
    layers = keras.layers
    augment = [layers.RandomFlip(), layers.RandomRotation(0.1), layers.RandomZoom(0.1), layers.RandomContrast(0.1)]
    model = keras.Sequential([keras.Input((8, 8, 3)), *augment, layers.Flatten(), layers.Dense(3)])
    keras_model.export_saved_model(model, InputSpec(8, 8, 3), tmp_path / "model")
    data = convert_tflite(tmp_path / "model", "fp32", dim_images(1))
    image = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), np.uint8)
    np.testing.assert_allclose(open_runtime("litert", data).logits(image), model.predict(image, verbose=0)[0], rtol=1e-4)


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_what_would_crash_the_calibrator_is_refused_before_it_does(tmp_path: Path, precision: str) -> None:
    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Reshape((8, 24)), layers.LSTM(4), layers.Dense(3)])
    keras_model.export_saved_model(model, InputSpec(8, 8, 3), tmp_path / "model")
    images = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(ConvertError, match=r"loop or a branch .*unroll=True") as refusal:
        convert_tflite(tmp_path / "model", precision, images)
    assert refusal.value.code == "E-CONVERT-TFLITE"
