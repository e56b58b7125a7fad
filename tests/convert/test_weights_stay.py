"""A conversion reads a model and never trains it: no step changes a weight, whatever the layers do in training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limiar.convert.anatomy.keras_layers import layer_values
from limiar.convert.export.make import Ground, make_files
from limiar.convert.export.to_onnx import onnx_model
from limiar.convert.source.class_map import keras_maps, mapped
from limiar.convert.source.ends import logits_model, raw_pixels
from limiar.convert.source.frameworks import keras
from limiar.convert.source.keras_model import export_saved_model, keras_logits
from limiar.convert.source.origin import Scaling
from limiar.edge_app.bundle.manifest import InputSpec

layers = keras.layers
SPEC = InputSpec(height=12, width=10, channels=3)
IMAGES = np.random.default_rng(3).integers(0, 256, (20, 12, 10, 3), np.uint8)
IMAGES[0].flat[:2] = (0, 255)  # as a calibration sample has it
LABELS = ("cat", "dog", "eel")


def augmenting() -> "keras.Model":
    """Layers that augment, drop or add noise while training, each before statistics that would move."""
    image = keras.Input((12, 10, 3))
    x = layers.Rescaling(1 / 255)(image)
    for augment in (layers.RandomFlip(), layers.RandomRotation(0.1), layers.RandomBrightness(0.2, value_range=(0, 1))):
        x = layers.BatchNormalization(momentum=0.5)(augment(x))
    x = layers.GaussianNoise(0.5)(layers.Conv2D(4, 3, activation="relu")(x))
    x = layers.BatchNormalization(momentum=0.5)(layers.SpatialDropout2D(0.5)(x))
    inner = keras.Sequential([keras.Input((10, 8, 4)), layers.RandomTranslation(0.2, 0.2), layers.BatchNormalization()])
    x = layers.GlobalAveragePooling2D()(layers.SpectralNormalization(layers.Conv2D(4, 1))(inner(x)))
    return keras.Model(image, layers.Dense(3, activation="softmax")(layers.Dropout(0.5)(x)))


def export(model: Any, folder: Path) -> None:
    export_saved_model(model, SPEC, folder / "saved")


def make(model: Any, folder: Path) -> None:
    make_files(model, SPEC, Ground(IMAGES, IMAGES, 25.0, lambda data, step: True), lambda text, *files: None)


STEPS: dict[str, Callable[[Any, Path], object]] = {
    "the softmax is cut off": lambda model, _: logits_model(model, LABELS, "m.keras"),
    "scaling comes in front": lambda model, _: keras_logits(raw_pixels(logits(model), SPEC, Scaling((0.5,))), IMAGES),
    "Keras answers": lambda model, _: keras_logits(logits(model), IMAGES),
    "layers are looked at": lambda model, _: layer_values(model, IMAGES),
    "a class map comes in": lambda model, _: keras_maps(mapped(logits(model), "m.keras"), IMAGES),
    "a SavedModel is written": export,
    "ONNX": lambda model, _: onnx_model(model, SPEC),
    "every file is made": lambda model, folder: make(logits(model), folder),
}


def logits(model: Any) -> Any:
    return logits_model(model, LABELS, "m.keras")[0]


@pytest.mark.parametrize("step", STEPS.values(), ids=list(STEPS))
def test_a_step_of_the_conversion_changes_no_weight(step: Callable[[Any, Path], object], tmp_path: Path) -> None:
    augmenting().save(tmp_path / "m.keras")
    model = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    before = {weight.path: weight.numpy().copy() for weight in model.weights if "seed_generator" not in weight.path}
    step(model, tmp_path)
    assert len(before) > 20
    after = {weight.path: weight.numpy() for weight in model.weights}
    assert [path for path, value in before.items() if (after[path] != value).any()] == []
