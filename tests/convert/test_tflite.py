"""Keras -> TFLite: five precisions, and what must hold for the integer file."""

import copy
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from limiar.convert.anatomy.flatbuffer import Graph
from limiar.convert.anatomy.inventory import check_full_integer
from limiar.convert.export.to_tflite import convert_tflite
from limiar.convert.pipeline import Converted
from limiar.convert.run.dataset import full_range
from limiar.convert.source import keras_model
from limiar.convert.source.frameworks import keras
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ConvertError, ModelUnfit
from limiar.edge_app.runtimes import installed_runtimes, open_runtime

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
    assert (given["dtype"], given["quantization"]) == (np.int8, (1.0, -128))
    assert list(given["shape"]) == [1, SIDE_PX, SIDE_PX, 3]
    assert output["dtype"] == np.int8
    assert not [tensor["name"] for tensor in interpreter.get_tensor_details() if np.issubdtype(tensor["dtype"], np.floating)]


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime"])
@pytest.mark.parametrize("optimised", [True, False])
def test_an_older_file_that_takes_uint8_gives_the_same_logits(converted: Converted, runtime: str, optimised: bool) -> None:
    if runtime not in {found.name for found in installed_runtimes()}:
        pytest.skip(f"{runtime} is not installed in this environment")
    data = converted.models["tflite_int8"]
    newer, older = (open_runtime(runtime, file, optimised=optimised) for file in (data, _with_uint8_input(data)))
    images = np.random.default_rng(3).integers(0, 256, (50, 1, SIDE_PX, SIDE_PX, 3), np.uint8)
    for image in (*images, np.full_like(images[0], 0), np.full_like(images[0], 255)):
        np.testing.assert_array_equal(newer.logits(image), older.logits(image))


def test_an_int8_input_with_another_zero_point_is_refused(converted: Converted) -> None:
    graph = Graph(converted.models["tflite_int8"])
    graph.main.tensors[graph.main.inputs[0]].quantization.zeroPoint = [-127]
    with pytest.raises(ModelUnfit, match=r"E-RUNTIME-INPUT: its int8 input has scale and zero point \(1.0, -127\)"):
        open_runtime("litert", graph.data())


def _with_uint8_input(data: bytes) -> bytes:
    """The file as limiar 0.1 made it: a QUANTIZE turns uint8 pixels into int8."""
    graph = Graph(data)
    (inner,) = graph.main.inputs
    pixels = copy.deepcopy(graph.main.tensors[inner])
    pixels.name, pixels.type, pixels.quantization.zeroPoint = b"pixels", schema.TensorType.UINT8, [0]
    graph.main.tensors.append(pixels)
    number = schema.BuiltinOperator.QUANTIZE
    code = schema.OperatorCodeT(builtinCode=number, deprecatedBuiltinCode=number, version=2)
    graph.model.operatorCodes.append(code)
    given = len(graph.main.tensors) - 1
    quantize = schema.OperatorT(opcodeIndex=len(graph.model.operatorCodes) - 1, inputs=[given], outputs=[inner])
    graph.main.operators.insert(0, quantize)
    graph.main.inputs = [given]
    graph.model.signatureDefs = None  # they name the former input
    return graph.data()


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
