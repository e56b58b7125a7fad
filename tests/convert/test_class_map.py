"""`limiar convert --cam`: a second output that says where the first one comes from, and costs it nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from limiar.convert.anatomy.inventory import inventory
from limiar.convert.defaults import CARD
from limiar.convert.export.recipes import RECIPES, recipe
from limiar.convert.gate.gate import Gate, RuntimeResult, findings
from limiar.convert.gate.gate_file import read_gate
from limiar.convert.pipeline import Converted, ConvertRequest, convert_run
from limiar.convert.publish.publish import publish_bundle
from limiar.convert.run.all_runtimes import map_cosine
from limiar.convert.run.dataset import read_tensors
from limiar.convert.run.evaluate import TFLITE_PYTHON
from limiar.convert.source.class_map import grid, keras_maps, mapped
from limiar.convert.source.ends import logits_model
from limiar.convert.source.frameworks import keras
from limiar.convert.source.keras_model import keras_logits
from limiar.convert.source.origin import RunFolder
from limiar.edge_app.bundle.manifest import MapGrid
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.errors import ConvertError, LimiarError
from limiar.edge_app.inference.golden import check_golden, golden_tensors
from limiar.edge_app.runtimes import open_runtime
from limiar.train.record.run_folder import SplitRow

Convert = Callable[..., Result]
layers = keras.layers

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 24, 24, 3)).astype(np.uint8)


def network(*ending: "keras.layers.Layer") -> "keras.Model":
    """Two convolutions with random weights, then the ending."""
    keras.utils.set_random_seed(1)
    start = [keras.Input((24, 24, 3)), layers.Rescaling(1 / 255), layers.Conv2D(6, 3, strides=2), layers.Conv2D(8, 3)]
    return keras.Sequential([*start, *ending])


@pytest.mark.parametrize(
    "ending",
    [
        lambda: [layers.GlobalAveragePooling2D(), layers.Dense(3)],
        lambda: [layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(3, use_bias=False)],
        lambda: [layers.GlobalAveragePooling2D(keepdims=True), layers.Flatten(), layers.Dense(3)],
        lambda: [layers.GlobalAveragePooling2D(), layers.Dense(5, bias_initializer="normal"), layers.Dense(3)],
        lambda: [layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")],
    ],
    ids=["plain", "dropout, no bias", "kept dimensions", "two dense layers", "softmax"],
)
def test_the_map_s_mean_is_the_logit_and_the_logits_stay_as_they_are(
    ending: "Callable[[], list[keras.layers.Layer]]",
) -> None:
    model, _ = logits_model(network(*ending()), ("a", "b", "c"), "m.keras")
    both = mapped(model, "m.keras")
    logits, maps = both.predict(IMAGES.astype(np.float32), verbose=0)
    np.testing.assert_array_equal(logits, keras_logits(model, IMAGES))
    assert maps.shape == (6, 9, 9, 3)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), logits, atol=1e-5)  # float32 sums in another order


def test_a_map_rises_where_the_feature_of_its_label_lies() -> None:
    model = network(layers.Conv2D(2, 1), layers.GlobalAveragePooling2D(), layers.Dense(2, use_bias=False))
    for layer, weights in zip(model.layers[1:4], ([0.0, 0.0, 1.0], np.eye(6)[0], np.eye(8)[:, :2]), strict=False):
        kernel = np.zeros(layer.get_weights()[0].shape)
        if len(weights) == 3:
            kernel[1, 1, :, 0] = weights  # the blue of every second pixel
        elif kernel.shape[0] == 3:
            kernel[1, 1, 0, 0] = 1.0
        else:
            kernel[0, 0] = weights
        layer.set_weights([kernel, np.zeros(kernel.shape[-1])])
    model.layers[-1].set_weights([np.array([[-1.0, 1.0], [0.0, 0.0]])])
    image = np.zeros((1, 24, 24, 3), np.uint8)
    image[0, 5:8, 15:18, 2] = 255
    of_second = keras_maps(mapped(model, "m.keras"), image)[0, :, :, 1]
    # Valid convolutions: place (r, c) of the map looks at pixel (2 r + 3, 2 c + 3), so that only (1..2, 6..7) can see the spot.
    assert np.unravel_index(of_second.argmax(), of_second.shape) in {(1, 6), (1, 7), (2, 6), (2, 7)}
    assert np.count_nonzero(of_second) <= 4


@pytest.mark.parametrize(
    "ending",
    [
        lambda: [layers.Flatten(), layers.Dense(2)],
        lambda: [layers.GlobalMaxPooling2D(), layers.Dense(2)],
        lambda: [layers.GlobalAveragePooling2D(), layers.Dense(8, activation="relu"), layers.Dense(2)],
        lambda: [layers.Conv2D(2, 1), layers.GlobalAveragePooling2D()],
        lambda: [layers.GlobalAveragePooling2D(), layers.Reshape((4, 2)), layers.Dense(1), layers.Flatten(), layers.Dense(2)],
    ],
    ids=["no pooling", "maximum", "activation between", "no dense layer", "dense over a part"],
)
def test_another_ending_is_refused_with_what_is_needed(ending: "Callable[[], list[keras.layers.Layer]]") -> None:
    with pytest.raises(
        ConvertError, match=r"m.keras ends in .* global average pooling and dense .* leave --cam out"
    ) as refused:
        mapped(network(*ending()), "m.keras")
    assert refused.value.code == "E-CONVERT-MAP"


@pytest.mark.parametrize(
    "path",
    [
        lambda: [layers.Conv2D(4, 3, strides=2, padding="same"), layers.Conv2D(4, 3, strides=2, padding="same")],
        lambda: [layers.Conv2D(4, 5), layers.MaxPooling2D(2), layers.SeparableConv2D(4, 3, padding="same")],
        lambda: [layers.ZeroPadding2D(((0, 1), (2, 0))), layers.Conv2D(4, 3, strides=2), layers.ReLU()],
        lambda: [layers.Conv2D(4, 3, dilation_rate=2), layers.AveragePooling2D(3, strides=2, padding="same")],
    ],
    ids=["same", "valid and pooled", "padded by hand", "dilated"],
)
def test_a_cell_lies_in_the_middle_of_the_pixels_that_it_looks_at(path: "Callable[[], list[keras.layers.Layer]]") -> None:
    keras.utils.set_random_seed(0)
    ends = [layers.GlobalAveragePooling2D(), layers.Dense(2)]
    model = mapped(keras.Sequential([keras.Input((24, 24, 1)), *path(), *ends]), "m.keras")
    found, base = grid(model), np.random.default_rng(0).integers(0, 100, (1, 24, 24, 1)).astype(np.float32)
    row, column = found.height // 2, found.width // 2
    one_by_one = base.repeat(24 * 24, axis=0)
    for pixel in range(24 * 24):
        one_by_one[pixel].flat[pixel] += 1000.0
    seen = np.abs(model.predict(one_by_one, verbose=0)[1][:, row, column] - model.predict(base, verbose=0)[1][0, row, column])
    y, x = np.nonzero(seen.max(axis=1).reshape(24, 24) > 1e-2)
    middle = ((y.min() + y.max()) / 2, (x.min() + x.max()) / 2)
    assert middle == (found.first[0] + row * found.step[0], found.first[1] + column * found.step[1])


def test_where_a_layer_s_geometry_is_not_known_the_cells_divide_the_image_evenly() -> None:
    ends = [layers.UpSampling2D(2), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    model = mapped(keras.Sequential([keras.Input((24, 24, 1)), layers.Conv2D(4, 8, strides=8), *ends]), "m.keras")
    assert grid(model) == MapGrid(6, 6, (1.5, 1.5), (4.0, 4.0))


def test_maps_are_alike_by_where_they_are_high() -> None:
    maps = np.random.default_rng(0).normal(size=(4, 5, 5, 2)).astype(np.float32)
    assert map_cosine(2 * maps + 3, maps) == 1.0
    assert map_cosine(-maps, maps) == -1.0
    turned = map_cosine(maps.transpose(0, 2, 1, 3), maps)
    assert turned is not None
    assert turned < 0.5
    assert map_cosine(maps[:, :4], maps) == -1.0
    assert map_cosine(np.full_like(maps, np.nan), maps) == -1.0
    assert map_cosine(np.ones_like(maps), maps) is None


def test_a_file_whose_map_points_elsewhere_fails(converted: Converted) -> None:
    gate: Gate = read_gate()
    keras_test = converted.report.keras["test"]
    file = next(file for file in converted.report.files if file.name == "tflite_fp32")

    def found(cosine: float | None) -> list[tuple[str, str]]:
        result: RuntimeResult = file.runtimes[0]
        changed = RuntimeResult(**{**{name: getattr(result, name) for name in result.__struct_fields__}, "class_map": cosine})
        given = findings(gate, recipe("tflite_fp32"), keras_test, changed)
        return [(one.check, one.verdict) for one in given if one.check == "class map"]

    assert found(0.99) == [("class map", "PASS")]
    assert found(0.2) == [("class map", "FAIL")]
    assert found(None) == []


def test_a_whole_conversion_gives_maps_and_the_very_logits_that_it_gives_without(
    run: Path, converted: Converted, images: tuple[Path, tuple[SplitRow, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TFLITE_PYTHON, raising=False)
    monkeypatch.chdir(tmp_path)  # no tflite-runtime: the runtimes of this environment are enough
    out = tmp_path / "mapped"
    request = ConvertRequest(RunFolder(run), None, read_gate(), "mapped", "1.0.0", "none", "Tests alone.", seed=0, cam=True)
    made = convert_run(request, note=lambda text, *files: None)
    publish_bundle(out, made, release_counter=1, seed=0, card=CARD)
    bundle, golden = open_bundle(out), golden_tensors(open_bundle(out))
    assert set(bundle.manifest.models) == {one.name for one in RECIPES}
    folder, rows = images
    tensors = read_tensors(folder, [row for row in rows if row.split == "val"][:8], bundle.manifest.input)
    wanted = keras_maps(made.source.mapped, tensors)
    for one in RECIPES:
        file, data = bundle.model(one.name)
        assert file.class_map == MapGrid(6, 6, (3.0, 3.0), (4.0, 4.0))  # "same" strides of 2 move cells: 1, then 2 more
        assert [port.shape for port in inventory(one.format, data).outputs] == [(1, 2), (1, 6, 6, 2)]
        # TensorFlow quantizes the end of an int16x8 file otherwise where it has a second output: by less than an int8 step.
        atol = 0.05 if one.name == "tflite_int16x8" else 0.0
        np.testing.assert_allclose(made.answers.logits[one.name], converted.answers.logits[one.name], rtol=0, atol=atol)
        runtime = open_runtime(one.runtime, data)
        assert check_golden(golden, bundle.manifest.labels, file, runtime).passed
        maps = [runtime.logits_and_map(tensors[k : k + 1])[1] for k in range(len(tensors))]
        cosine = map_cosine(np.array(maps), wanted)
        assert cosine is not None
        assert cosine >= (0.99 if one.precision in ("int8", "dynamic") else 0.999)
    for report in made.report.files:
        checks = [finding.runtime for finding in report.findings if finding.check == "class map"]
        assert checks == [result.title for result in report.runtimes]


def test_a_run_that_cannot_have_a_map_is_refused_before_anything_is_made(
    limiar_convert: Convert, edited_run: Callable[..., Path], tmp_path: Path
) -> None:
    flat = keras.Sequential([keras.Input((24, 24, 3)), layers.Flatten(), layers.Dense(2)])
    result = limiar_convert(edited_run(flat), "--out", tmp_path / "out", "--cam")
    assert isinstance(result.exception, LimiarError)
    assert result.exception.code == "E-CONVERT-MAP"
