"""A model whose answers depend on the other images of a batch cannot run on a device."""

import numpy as np
import pytest

from limiar.convert.source.frameworks import keras
from limiar.convert.source.keras_model import keras_logits
from limiar.convert.source.steady import check_steady
from limiar.edge_app.errors import ConvertError

layers, ops = keras.layers, keras.ops
TENSORS = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)


def model(*middle: "keras.layers.Layer", **options: bool) -> "keras.Model":
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3)(layers.Rescaling(1 / 255)(image))
    for layer in middle:
        x = layer(x, **options)
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("options", [{}, {"training": False}, {"training": True}])
def test_layers_that_only_training_changes_change_nothing_however_they_were_called(options: dict[str, bool]) -> None:
    made = model(layers.Dropout(0.5), layers.BatchNormalization(), layers.GaussianNoise(0.3), **options)
    check_steady(made, TENSORS)
    np.testing.assert_array_equal(keras_logits(made, TENSORS), keras_logits(made, TENSORS))


@pytest.mark.parametrize("axes", [0, (0, 1, 2)])
def test_a_mean_over_the_batch_is_refused(axes: "int | tuple[int, ...]") -> None:
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3)(image)
    bare = keras.Model(image, layers.GlobalAveragePooling2D()(x - ops.mean(x, axis=axes, keepdims=True)))
    with pytest.raises(ConvertError, match=r"E-CONVERT-KERAS: .* and in a batch.*not over axis 0"):
        check_steady(bare, TENSORS)
