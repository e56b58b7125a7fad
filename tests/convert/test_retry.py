"""An integer file that loses keeps its worst layers in float; the caller's measure decides which."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from limiar.convert.anatomy.inventory import check_full_integer, inventory
from limiar.convert.anatomy.layers import CEILING_DB, LayerNoise, layer_noise
from limiar.convert.export.retry import choose_float_layers
from limiar.convert.export.to_tflite import calibrated, convert_tflite, keep_in_float
from limiar.convert.run.dataset import full_range
from limiar.convert.source import keras_model
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ConvertError
from limiar.edge_app.runtimes import open_runtime

SPEC = InputSpec(height=16, width=16, channels=3)


class Case(msgspec.Struct, frozen=True):
    """A model with a layer called `hostile`, and what convert makes of it."""

    model: Any
    saved_model: Path
    images: Pixels
    fp32: bytes
    int8: bytes
    noise: tuple[LayerNoise, ...]

    def loses(self, data: bytes) -> bool:
        """A logit is off by more than 3 % of the largest."""
        runtime = open_runtime("litert", data)
        logits = np.stack([runtime.logits(image[np.newaxis]) for image in self.images])
        keras = keras_model.keras_logits(self.model, self.images)
        return bool(np.abs(logits - keras).max() > 0.03 * np.abs(keras).max())


def scale_weights(layer: Any, channel: tuple[slice | int, ...], factor: float) -> None:
    kernel, bias = layer.get_weights()
    kernel[channel] *= factor
    layer.set_weights([kernel, bias])


def values_that_int8_cannot_hold() -> Any:
    """One channel of a value is 2000 times as large as the others, and its reader makes it small again."""
    layers = keras_model.keras.layers
    image = keras_model.keras.Input((SPEC.height, SPEC.width, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.Rescaling(1 / 255)(image))
    x = layers.DepthwiseConv2D(3, padding="same", name="hostile")(x)
    x = layers.Conv2D(8, 1, activation="relu", name="reader")(x)
    model = keras_model.keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    scale_weights(model.get_layer("hostile"), np.s_[:, :, 0], 2000)
    scale_weights(model.get_layer("reader"), np.s_[:, :, 0], 1 / 2000)
    return model


def weights_that_int8_cannot_hold() -> Any:
    """Dense weights have one scale for all: a row 2000 times the others leaves these nothing."""
    layers = keras_model.keras.layers
    image = keras_model.keras.Input((SPEC.height, SPEC.width, 3))
    x = layers.MaxPooling2D(4)(layers.Conv2D(8, 3, padding="same", activation="relu")(layers.Rescaling(1 / 255)(image)))
    x = layers.Dense(12, activation="relu", name="hostile")(layers.Flatten()(x))
    model = keras_model.keras.Model(image, layers.Dense(2, name="reader")(x))
    scale_weights(model.get_layer("hostile"), np.s_[:, 0], 2000)
    scale_weights(model.get_layer("reader"), np.s_[0], 1 / 2000)
    return model


@pytest.fixture(scope="module", params=[values_that_int8_cannot_hold, weights_that_int8_cannot_hold])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    keras_model.keras.utils.set_random_seed(0)
    model = request.param()
    saved_model = tmp_path_factory.mktemp("hostile") / "model"
    keras_model.export_saved_model(model, SPEC, saved_model)
    images = np.random.default_rng(0).integers(0, 256, (32, SPEC.height, SPEC.width, 3), np.uint8)
    images = np.concatenate([images, full_range(images[:1])])
    fp32, int8 = (convert_tflite(saved_model, precision, images) for precision in ("fp32", "int8"))
    return Case(model, saved_model, images, fp32, int8, layer_noise(model, fp32, int8, images[:8]))


def test_a_file_that_loses_is_right_once_its_worst_layers_are_kept_in_float(case: Case) -> None:
    assert case.loses(case.int8)
    start = calibrated(case.saved_model, case.images)
    data, kept = choose_float_layers(case.int8, case.noise, case.fp32, lambda layers: keep_in_float(start, layers), case.loses)
    assert not case.loses(data)
    assert {layer.layer for layer in kept} >= {"hostile", "reader"}
    assert len(kept) < len([layer for layer in case.noise if layer.operator != "QUANTIZE"])
    kept_values = tuple(layer.value for layer in kept)
    assert convert_tflite(case.saved_model, "int8", case.images, kept_values) == data
    given, output = inventory("tflite", data).inputs[0], inventory("tflite", data).outputs[0]
    assert (given.type, given.scale, given.zero_point, output.type) == ("INT8", 1.0, -128, "INT8")
    again = [layer for layer in layer_noise(case.model, case.fp32, data, case.images[:8]) if layer.operator != "QUANTIZE"]
    assert [layer.value for layer in again] == [layer.value for layer in case.noise if layer.operator != "QUANTIZE"]
    assert all(layer.snr_db == CEILING_DB for layer in again if layer.value in kept_values)


def test_floats_are_allowed_in_the_layers_that_are_declared_and_nowhere_else(case: Case) -> None:
    values = [layer.value for layer in case.noise if layer.layer in ("hostile", "reader")]
    data = keep_in_float(calibrated(case.saved_model, case.images), values)
    check_full_integer(data, values)
    for declared in ((), values[:1], values[1:]):
        with pytest.raises(ConvertError, match="E-CONVERT-FLOAT"):
            check_full_integer(data, declared)


def test_only_an_int8_file_keeps_layers_in_float(case: Case) -> None:
    with pytest.raises(ValueError, match="dynamic files keep no layers in float"):
        convert_tflite(case.saved_model, "dynamic", case.images, ("anything",))


def test_a_file_that_does_not_lose_stays_as_it_is(case: Case) -> None:
    def make(layers: tuple[str, ...]) -> bytes:
        raise AssertionError(layers)

    assert choose_float_layers(case.int8, case.noise, case.fp32, make, lambda data: False) == (case.int8, ())


def tries(case: Case, make: Callable[[tuple[str, ...]], bytes]) -> list[tuple[str, ...]]:
    """What is tried if nothing helps."""
    tried: list[tuple[str, ...]] = []

    def noted(layers: tuple[str, ...]) -> bytes:
        tried.append(layers)
        return make(layers)

    assert choose_float_layers(case.int8, case.noise, case.fp32, noted, lambda data: True) == (case.int8, ())
    return tried


def refuse(layers: Sequence[str]) -> bytes:
    raise ConvertError("E-CONVERT-TFLITE", "not these")


@pytest.mark.parametrize("make", [lambda layers: b"other", refuse])
def test_ever_more_layers_are_tried_and_the_first_file_stays_where_none_helps(
    case: Case, make: Callable[[tuple[str, ...]], bytes]
) -> None:
    tried = tries(case, make)
    worst = min((layer for layer in case.noise if layer.snr_db is not None), key=lambda layer: layer.snr_db or 0.0)
    operators = [layer for layer in case.noise if layer.operator != "QUANTIZE"]
    assert tried[0] == (worst.value,)
    assert len(set(tried)) == len(tried)
    assert len(tried[-1]) > len(tried[0])
    assert all(len(layers) < len(operators) for layers in tried)
