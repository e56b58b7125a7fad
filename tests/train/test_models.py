"""The networks and the form that they are shipped in."""

import keras
import numpy as np
import pytest
from keras import layers

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import TrainError
from limiar.train.config import INPUT, check_input
from limiar.train.fit.models import build, deployable


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (16, 40, 40, 3), dtype=np.uint8)


@pytest.fixture(params=["compact", "lenet", "windowed"])
def trained(request, images):
    """A network whose batch norms have seen data, so that folding has something to fold."""
    keras.utils.set_random_seed(0)
    model = build(request.param, INPUT, classes=3, dropout=0.3)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, np.arange(16) % 3, epochs=3, batch_size=8, verbose=0)
    return model


def test_the_shipped_network_gives_the_logits_divided_by_the_temperature(trained, images):
    want = trained.predict(images, verbose=0) / 1.7
    assert np.allclose(deployable(trained, 1.7).predict(images, verbose=0), want, rtol=1e-4, atol=1e-4)  # float32 sums


def test_the_shipped_network_has_nothing_that_only_training_needs(trained):
    kinds = {type(layer) for layer in deployable(trained, 1.0).layers}
    assert kinds <= {
        layers.Conv2D,
        layers.ReLU,
        layers.MaxPooling2D,
        layers.GlobalAveragePooling2D,
        layers.Flatten,
        layers.Dense,
    }


def test_all_return_logits_and_take_raw_pixels(trained, images):
    answers = trained.predict(images, verbose=0)
    assert answers.shape == (16, 3)
    assert not np.allclose(answers.sum(axis=1), 1.0)
    assert trained.layers[0].scale == 1 / 255


def test_lenet_has_the_courses_layers_and_one_output_per_class():
    lenet = build("lenet", INPUT, classes=2, dropout=0.0)
    sizes = [layer.get_weights()[0].shape for layer in lenet.layers if layer.weights]
    assert sizes == [(5, 5, 3, 20), (5, 5, 20, 50), (5000, 500), (500, 2)]
    assert lenet.count_params() == 2_528_072


def test_compact_fits_its_file():
    shipped = deployable(build("compact", INPUT, classes=2, dropout=0.3), 1.0)
    assert shipped.count_params() < 52_000  # a byte each in the int8 file, which may have 65,536
    assert shipped.output_shape == (None, 2)


def test_windowed_fits_its_file_and_pads_nothing():
    shipped = deployable(build("windowed", INPUT, classes=2, dropout=0.3), 1.0)
    assert shipped.count_params() < 52_000
    assert {layer.padding for layer in shipped.layers if isinstance(layer, layers.Conv2D)} == {"valid"}


def test_windowed_is_built_for_any_size_from_27_pixels():
    spec = InputSpec(height=27, width=64, channels=3)
    check_input(spec, "windowed")
    assert build("windowed", spec, classes=2, dropout=0.0).output_shape == (None, 2)
    with pytest.raises(TrainError, match="E-TRAIN-SIZE: --size 26x64: a side of windowed has 27 to 4096 pixels"):
        check_input(InputSpec(height=26, width=64, channels=3), "windowed")


@pytest.mark.parametrize("name", ["compact", "lenet"])
@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 1), (8, 65, 3), (33, 20, 1)])
def test_both_are_built_for_any_size_from_eight_pixels(name, height, width, channels):
    spec = InputSpec(height=height, width=width, channels=channels)
    check_input(spec)
    pixels = np.random.default_rng(0).integers(0, 256, (2, height, width, channels), dtype=np.uint8)
    assert deployable(build(name, spec, classes=3, dropout=0.0), 1.0).predict(pixels, verbose=0).shape == (2, 3)


@pytest.mark.parametrize(("height", "width"), [(7, 40), (40, 7), (5000, 40)])
def test_a_size_that_no_network_is_built_for_is_refused(height, width):
    with pytest.raises(TrainError) as refused:
        check_input(InputSpec(height=height, width=width, channels=3))
    assert refused.value.code == "E-TRAIN-SIZE"


def test_a_network_trained_in_half_precision_ships_in_float32(images):
    keras.mixed_precision.set_global_policy("mixed_float16")  # what a GPU trains in
    try:
        model = build("compact", INPUT, classes=2, dropout=0.3)
        answers = model.predict(images, verbose=0)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    shipped = deployable(model, 1.0)
    assert answers.dtype == np.float32
    assert {layer.compute_dtype for layer in shipped.layers} == {"float32"}
    assert np.allclose(shipped.predict(images, verbose=0), answers, atol=0.01)  # half precision has 11 bits
