"""Both ends of a Keras model: a softmax is cut off, one unit becomes two logits, scaling comes in front."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limiar.convert.source.ends import SIDE_LIMIT, input_spec, logits_model, raw_pixels
from limiar.convert.source.frameworks import keras
from limiar.convert.source.keras_model import keras_logits
from limiar.convert.source.origin import Scaling
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ConvertError

SPEC = InputSpec(height=6, width=5, channels=3)
LABELS = ("a", "b", "c")
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3)).astype(np.uint8)
layers = keras.layers

Head = Callable[[Any], Any]


def network(head: Head) -> "keras.Model":
    """Four features of an image, and a head on them."""
    image = keras.Input((6, 5, 3))
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image)))
    return keras.Model(image, head(features), name="network")


def nested(*head: Any) -> Head:
    return lambda features: keras.Sequential([keras.Input((4,)), *head])(features)


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def answers(model: "keras.Model") -> np.ndarray:
    return np.asarray(model(IMAGES.astype(np.float32), training=False))


def test_logits_stay_as_they_are() -> None:
    model = network(layers.Dense(3))
    assert logits_model(model, LABELS, "m.keras") == (model, None)


@pytest.mark.parametrize(
    "head",
    [
        layers.Dense(3, activation="softmax"),
        nested(layers.Dense(3), layers.Softmax()),
        nested(layers.Dense(3), layers.Activation("softmax"), layers.Dropout(0.5)),
        lambda x: keras.ops.softmax(layers.Dense(3)(x)),
        lambda x: layers.Flatten()(layers.Conv2D(3, 1, activation="softmax")(layers.Reshape((1, 1, 4))(x))),
        nested(keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])),
    ],
)
def test_a_softmax_at_the_end_is_cut_off_wherever_it_stands(head: Head) -> None:
    model = network(head)
    cut, changed = logits_model(model, LABELS, "m.keras")
    assert changed == "softmax cut off"
    np.testing.assert_allclose(softmax(keras_logits(cut, IMAGES)), answers(model), atol=1e-6)


def test_the_last_layer_of_a_model_of_models_is_found() -> None:
    model = keras.Sequential([keras.Input((6, 5, 3)), network(layers.Dense(3, activation="softmax"))])
    cut, _ = logits_model(model, LABELS, "m.keras")
    np.testing.assert_allclose(softmax(keras_logits(cut, IMAGES)), answers(model), atol=1e-6)


def test_named_inputs_and_outputs_become_plain_ones() -> None:
    image = keras.Input((6, 5, 3), name="picture")
    model = keras.Model({"picture": image}, {"answer": layers.Dense(3)(layers.Flatten()(image))})
    plain, changed = logits_model(model, LABELS, "m.keras")
    assert changed is None
    np.testing.assert_array_equal(keras_logits(plain, IMAGES), model({"picture": IMAGES.astype(np.float32)})["answer"])


def test_a_sequential_model_stays_as_it_was_saved(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((6, 5, 3)), layers.Flatten(), layers.Dense(3)]).save(tmp_path / "m.keras")
    model = keras.saving.load_model(tmp_path / "m.keras")
    assert logits_model(model, LABELS, "m.keras") == (model, None)
    assert keras_logits(model, IMAGES).shape == (4, 3)


@pytest.mark.parametrize("head", [layers.Dense(1, activation="sigmoid"), nested(layers.Dense(1), layers.Activation("sigmoid"))])
def test_one_unit_with_a_sigmoid_becomes_two_logits_of_the_same_probability(head: Head) -> None:
    model = network(head)
    pair, changed = logits_model(model, ("neg", "pos"), "m.keras")
    assert changed == "sigmoid cut off, one unit made two logits"
    np.testing.assert_allclose(softmax(keras_logits(pair, IMAGES))[:, 1], answers(model)[:, 0], atol=1e-6)


def test_one_unit_without_a_sigmoid_is_a_logit() -> None:
    model = network(layers.Dense(1))
    pair, changed = logits_model(model, ("neg", "pos"), "m.keras")
    assert changed == "one unit made two logits"
    np.testing.assert_array_equal(keras_logits(pair, IMAGES), np.hstack([np.zeros((4, 1)), answers(model)]))


@pytest.mark.parametrize("units", [2, 3])
def test_a_sigmoid_for_each_label_is_refused(units: int) -> None:
    with pytest.raises(ConvertError, match=f"E-CONVERT-SIGMOID: m.keras ends in a sigmoid over {units} units"):
        logits_model(network(layers.Dense(units, activation="sigmoid")), LABELS[:units], "m.keras")


@pytest.mark.parametrize(
    ("head", "labels"),
    [
        (layers.Dense(2), LABELS),
        (layers.Dense(4, activation="softmax"), LABELS),
        (layers.Dense(1), LABELS),
        (layers.Dense(1, activation="softmax"), LABELS[:2]),  # 1 for every image
        (layers.Reshape((2, 2)), LABELS),
    ],
)
def test_a_model_without_one_output_for_each_label_is_refused(head: Head, labels: tuple[str, ...]) -> None:
    with pytest.raises(ConvertError, match=f"E-CONVERT-OUTPUTS: .* but there are {len(labels)} labels"):
        logits_model(network(head), labels, "m.keras")


def test_a_model_with_two_outputs_is_refused() -> None:
    image = keras.Input((6, 5, 3))
    flat = layers.Flatten()(image)
    with pytest.raises(ConvertError, match=r"E-CONVERT-OUTPUTS: m\.keras has 2 outputs"):
        logits_model(keras.Model(image, [layers.Dense(3)(flat), layers.Dense(3)(flat)]), LABELS, "m.keras")


@pytest.mark.parametrize(
    "head",
    [
        nested(layers.Dense(3, activation="softmax"), layers.Softmax()),
        nested(layers.Dense(3), layers.Softmax(), layers.Softmax()),
        lambda x: layers.Dropout(0.1)(layers.ReLU()(layers.Dense(3, activation="softmax")(x))),  # hidden behind another
        lambda x: (raised := keras.ops.exp(layers.Dense(3)(x))) / keras.ops.sum(raised, axis=1, keepdims=True),
    ],
)
def test_a_model_that_gives_probabilities_after_one_softmax_was_cut_off_is_refused(head: Head) -> None:
    model, _ = logits_model(network(head), LABELS, "m.keras")
    with pytest.raises(ConvertError, match="E-CONVERT-SOFTMAX"):
        keras_logits(model, IMAGES)


@pytest.mark.parametrize(
    "scaling",
    [
        Scaling(scale=(1 / 255,)),
        Scaling(mean=(127.5,), std=(127.5,)),
        Scaling((1 / 255,), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        Scaling((1.0, 0.5, 2.0), (3.0,), (-4.0,)),
    ],
)
def test_scaling_comes_into_the_graph(scaling: Scaling) -> None:
    model = network(layers.Dense(3))
    scale, mean, std = (np.array(values) for values in (scaling.scale, scaling.mean, scaling.std))
    scaled = (IMAGES.astype(np.float64) * scale - mean) / std  # as the options are documented
    expected = np.asarray(model(scaled.astype(np.float32)))
    np.testing.assert_allclose(keras_logits(raw_pixels(model, SPEC, scaling), IMAGES), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scaling", [Scaling(mean=(1.0, 2.0)), Scaling(scale=(1.0,) * 4), Scaling(std=(1.0, 2.0))])
def test_scaling_for_another_number_of_channels_is_refused(scaling: Scaling) -> None:
    with pytest.raises(ConvertError, match=r"E-CONVERT-CHANNELS: --(scale|mean|std) has [24] values, the model takes 3"):
        raw_pixels(network(layers.Dense(3)), SPEC, scaling)


@pytest.mark.parametrize("shape", [(6, 5, 1), (300, 2, 3)])
def test_grey_and_colour_of_any_size_are_taken(shape: tuple[int, int, int]) -> None:
    spec = input_spec(keras.Sequential([keras.Input(shape), layers.Flatten()]), "m.keras")
    assert (spec.height, spec.width, spec.channels) == shape


@pytest.mark.parametrize(
    "shape", [(None, None, 3), (6, None, 3), (6, 5, 4), (4, 6, 5), (6, 5), (30,), (6, 5, 3, 1), (SIDE_LIMIT + 1, 5, 3)]
)
def test_what_no_image_becomes_by_the_image_rules_is_refused(shape: tuple[int | None, ...]) -> None:
    with pytest.raises(ConvertError, match=r"E-CONVERT-INPUT: m\.keras takes \(None, "):
        input_spec(keras.Sequential([keras.Input(shape), layers.Activation("relu")]), "m.keras")


@pytest.mark.parametrize(("shape", "image"), [((6, 5), "(6, 5, 1)"), ((30,), "(HEIGHT, WIDTH, CHANNELS)")])
def test_the_cure_for_arrays_without_channels_makes_the_same_model_of_images(shape: tuple[int, ...], image: str) -> None:
    model = keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(3)])
    cure = rf"save (keras\.Sequential\(\[keras\.Input\({re.escape(image)}\), keras\.layers\.Reshape\(.*\), model\]\))$"
    with pytest.raises(ConvertError, match=cure) as refused:
        input_spec(model, "m.keras")
    written = str(refused.value).partition("save ")[2].replace("(HEIGHT, WIDTH, CHANNELS)", "(6, 5, 1)")
    again = eval(written, {"keras": keras, "model": model})  # what a person would type
    assert input_spec(again, "m.keras") == InputSpec(height=6, width=5, channels=1)
    pixels = IMAGES[..., :1].astype(np.float32)
    assert np.array_equal(again(pixels), model(pixels.reshape(len(pixels), *shape)))


def test_a_model_of_images_with_transparency_hears_how_they_come() -> None:
    with pytest.raises(ConvertError, match=r"takes .*4.*: transparent images are read as RGB over black: train it on those"):
        input_spec(keras.Sequential([keras.Input((6, 5, 4)), layers.Flatten()]), "m.keras")


def test_a_fixed_batch_and_channels_that_come_first_are_taken() -> None:
    for shape, batch in (((6, 5, 3), 8), ((3, 6, 5), None), ((3, 6, 5), 2)):
        model = keras.Sequential([keras.Input(shape, batch_size=batch), layers.Flatten()])
        assert input_spec(model, "m.keras") == SPEC


def test_a_model_of_any_size_takes_the_size_that_is_given_and_another_none() -> None:
    anything = keras.Sequential([keras.Input((None, None, 3)), layers.Activation("relu")])
    with pytest.raises(ConvertError, match="give the size it was trained at with --size HEIGHTxWIDTH"):
        input_spec(anything, "m.keras")
    assert input_spec(anything, "m.keras", (6, 5)) == SPEC
    assert input_spec(keras.Sequential([keras.Input((6, None, 3)), layers.Activation("relu")]), "m.keras", (6, 5)) == SPEC
    with pytest.raises(ConvertError, match="takes 6x5, but --size says 7x5: leave --size out"):
        input_spec(keras.Sequential([keras.Input((6, 5, 3)), layers.Flatten()]), "m.keras", (7, 5))


def test_a_model_with_two_inputs_or_none_known_is_refused() -> None:
    left, right = keras.Input((6, 5, 3)), keras.Input((6, 5, 3))
    for model in (
        keras.Model([left, right], layers.Add()([left, right])),
        keras.Sequential([layers.Flatten(), layers.Dense(3)]),
    ):
        with pytest.raises(ConvertError, match="E-CONVERT-INPUTS"):
            input_spec(model, "m.keras")
