"""A model that answers no better than chance is refused, with what would make it right: labels, scaling, order of colours."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner, Result

from limiar.convert.commands.convert import convert
from limiar.convert.source.chance import Remarks, best_order, better_than_chance, chance, check_chance, check_unit
from limiar.convert.source.ends import raw_pixels
from limiar.convert.source.frameworks import keras
from limiar.convert.source.keras_model import keras_logits
from limiar.convert.source.origin import KerasFile, Scaling
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.cli import limiar as limiar_group
from limiar.edge_app.errors import ConvertError

layers = keras.layers
LABELS = ("blue", "green", "red")
SPEC = InputSpec(height=4, width=4, channels=3)
TORCH = Scaling((1 / 255,), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def images(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [N, 4, 4, 3] and their labels: the channel that is brighter than the others by 40."""
    rng = np.random.default_rng(2)
    truth = np.arange(count) % 3
    pixels = rng.integers(60, 140, (count, 4, 4, 3))
    for k, label in enumerate(truth):
        pixels[k, ..., 2 - label] += 40
    return pixels.astype(np.uint8), truth


def model(trained_with: Scaling, order: tuple[int, ...] = (0, 1, 2)) -> "keras.Model":
    """A model that is right for pixels scaled in this way; its outputs are in the `order` of LABELS.

    Red, green and blue are compared with the values that they must have: pixels of another scale saturate all outputs.
    """
    image = keras.Input((4, 4, 3))
    middle = Scaling.applied(trained_with, np.full((1, 1, 1, 3), 107, np.uint8))[0, 0, 0]
    spread = Scaling.applied(trained_with, np.full((1, 1, 1, 3), 147, np.uint8))[0, 0, 0] - middle
    kernel = np.eye(3)[::-1] if not trained_with.bgr else np.eye(3)
    near = layers.Rescaling((2 / spread).tolist(), (-2 * middle / spread).tolist())(layers.GlobalAveragePooling2D()(image))
    end = layers.Dense(3)
    built = keras.Model(image, end(layers.Activation("hard_sigmoid")(near)))
    end.set_weights([(8 * kernel)[:, order], np.zeros(3)])
    return built


def found(bare: "keras.Model", given: Scaling | None = None, allowed: bool = False, a_run: bool = False) -> Remarks:
    tensors, truth = images()
    whole = raw_pixels(bare, SPEC, given) if given else bare
    logits = keras_logits(whole, tensors)
    return check_chance(bare, given, logits, tensors, truth, LABELS, "m.keras", a_run, allowed)


def refusal(*arguments: object, **options: object) -> str:
    with pytest.raises(ConvertError) as refused:
        found(*arguments, **options)  # type: ignore[arg-type]
    assert refused.value.code == "E-CONVERT-CHANCE"
    assert "\n" not in refused.value.message
    return refused.value.message


def test_a_model_that_is_right_passes_without_a_word() -> None:
    assert found(model(Scaling())) == Remarks()
    assert found(model(TORCH), TORCH) == Remarks()


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 0, 1)])
def test_labels_in_another_order_are_found(order: tuple[int, ...]) -> None:
    told = refusal(model(Scaling(), order))
    assert "right label for 0 of 60 validation images (0.000), no better than chance (0.333)" in told
    assert f"1.000 with --labels FILE that lists {', '.join(LABELS[k] for k in order)}, one a line" in told
    assert told.endswith("--allow-chance converts it as it is")


@pytest.mark.parametrize(
    ("trained_with", "options"),
    [
        (Scaling((1 / 255,)), "--scale 1/255"),
        (Scaling((1 / 127.5,), (1.0,)), "--scale 1/127.5 --mean 1"),
        (TORCH, "--scale 1/255 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"),
        (Scaling(mean=(103.939, 116.779, 123.68), bgr=True), "--bgr --mean 103.939,116.779,123.68"),
        (Scaling((1 / 255,), bgr=True), "--bgr --scale 1/255"),
        (
            Scaling((1 / 255,), (0.406, 0.456, 0.485), (0.225, 0.224, 0.229), bgr=True),
            "--bgr --scale 1/255 --mean 0.406,0.456,0.485 --std 0.225,0.224,0.229",
        ),
        (Scaling((-1.0,), (-255.0,)), "--scale -1 --mean -255"),
        (Scaling((-1 / 255,), (-1.0,)), "--scale -1/255 --mean -1"),
    ],
)
def test_scaling_that_was_forgotten_is_found_with_the_options_that_cure_it(trained_with: Scaling, options: str) -> None:
    told = refusal(model(trained_with))
    assert f"it would be 1.000 with {options}" in told
    assert found(model(trained_with), trained_with) == Remarks()


def test_scaling_and_labels_that_are_both_wrong_are_found_together() -> None:
    told = refusal(model(TORCH, (1, 2, 0)))
    assert "std 0.229,0.224,0.225 and --labels FILE that lists green, red, blue, one a line" in told


def test_scaling_that_is_inside_already_is_found() -> None:
    told = refusal(model(Scaling()), Scaling((1 / 255,)))
    assert "with no --scale, --mean, --std and --bgr" in told


def test_blue_and_red_exchanged_are_found_in_a_model_that_is_right_for_green_alone() -> None:
    rng = np.random.default_rng(1)
    tensors, truth = images(90)
    rare = np.where((truth == 1) | (rng.uniform(size=90) < 0.3))[0]  # mostly green
    bare = model(Scaling(bgr=True))
    logits = keras_logits(bare, tensors[rare])
    told = check_chance(bare, None, logits, tensors[rare], truth[rare], LABELS, "m.keras", False, True)
    assert "--bgr" in told.notes[0]
    assert told.facts["other form"] in told.notes[0]


def test_a_form_that_is_clearly_better_refuses_a_file_and_warns_of_a_run() -> None:
    order = tuple(range(12))
    truth = np.repeat(order, 10)
    logits = 8.0 * np.eye(12)[[0, 1, 10, 11, *range(2, 10)]][truth]  # 0, 1, 2, …, 11 as numbers; folders in name order
    names = tuple(sorted(map(str, order)))
    bare = keras.Sequential([keras.Input((4, 4, 3)), layers.GlobalAveragePooling2D(), layers.Dense(12)])
    words = (bare, None, logits.astype(np.float32), np.zeros((120, 4, 4, 3), np.uint8), truth, names, "m.keras")
    with pytest.raises(ConvertError, match=r"E-CONVERT-CHANCE: .*right label for 20 of 120") as refused:
        check_chance(*words, False, False)
    assert "no better than chance" not in refused.value.message
    assert refused.value.message.endswith("--allow-chance converts it as it is")
    assert "other form" in check_chance(*words, False, True).facts
    assert "other form" in check_chance(*words, True, False).facts


@pytest.mark.parametrize("low_high", [(0.0, 1.0), (0.02, 0.97), (0.1, 1.2), (0.5, 1.0)])
def test_one_unit_that_gives_a_probability_is_refused_and_one_that_gives_a_logit_is_not(low_high: tuple[float, float]) -> None:
    truth = np.arange(40) % 2
    unit = np.array(low_high, np.float32)[truth]
    with pytest.raises(ConvertError, match=r"E-CONVERT-SIGMOID: the one unit of m\.keras gives .*Rescaling\(8, -4\)"):
        check_unit(unit, truth, "m.keras")
    check_unit(8 * unit - 4, truth, "m.keras")


def test_it_is_converted_where_it_is_allowed_and_says_so() -> None:
    told = found(model(Scaling(), (1, 2, 0)), allowed=True)
    assert told.facts["chance"].endswith("allowed by --allow-chance")
    assert told.notes[0].startswith("Warning: m.keras gives the right label for 0 of 60")


def test_exchanged_labels_are_named_before_inverted_pixels() -> None:
    truth = np.arange(40) % 2
    tensors = np.repeat(np.where(truth == 1, 200, 55), 48).reshape(40, 4, 4, 3).astype(np.uint8)
    end = layers.Dense(2)
    bare = keras.Sequential([keras.Input((4, 4, 3)), layers.GlobalAveragePooling2D(), layers.Rescaling(1 / 255, -0.5), end])
    end.set_weights([np.array([[3.0, -3.0]] * 3), np.zeros(2)])
    with pytest.raises(ConvertError) as refused:
        check_chance(bare, None, keras_logits(bare, tensors), tensors, truth, ("dark", "light"), "m.keras", False, False)
    told = refused.value.message
    assert 0 < told.index("--labels FILE that lists light, dark") < told.index("--scale -1 --mean -255")


def test_a_run_is_not_told_of_options_that_it_has_not() -> None:
    told = refusal(model(Scaling(), (1, 2, 0)), a_run=True)
    assert "--labels" not in told
    assert "train it again" in told


def test_a_model_that_gives_one_label_to_every_image_is_refused_with_what_was_tried() -> None:
    bare = keras.Sequential(
        [keras.Input((4, 4, 3)), layers.GlobalAveragePooling2D(), layers.Dense(3, kernel_initializer="zeros")]
    )
    told = refusal(bare)
    assert "no other order of labels, scaling or BGR was clearly better" in told


def test_guessing_is_told_from_knowing_about_as_often_as_stated() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 4, 80)
    guessed = [better_than_chance(rng.normal(size=(80, 4)), truth) for _ in range(400)]
    assert 0.02 < np.mean(guessed) < 0.09
    knowing = np.eye(4)[truth] + rng.normal(size=(400, 80, 4))
    assert np.mean([better_than_chance(logits, truth) for logits in knowing]) > 0.99


def test_a_rare_positive_that_is_never_called_counts_by_the_order_of_its_scores() -> None:
    truth = np.array([1] * 10 + [0] * 190)
    logits = np.stack([np.full(200, 3.0), truth + np.linspace(0, 1.5, 200)], axis=1)
    assert (logits.argmax(axis=1) == 0).all()
    assert better_than_chance(logits, truth)
    assert not better_than_chance(logits * [1.0, -1.0], truth)


def test_few_images_that_are_all_right_are_better_than_chance() -> None:
    truth = np.array([0, 1, 2, 0, 1, 2])
    assert better_than_chance(np.eye(3)[truth], truth)
    assert chance(truth, truth, 3) == pytest.approx(1 / 3)


def test_an_output_that_no_image_speaks_of_keeps_its_label() -> None:
    assert best_order(np.array([0, 0, 3]), np.array([3, 3, 0]), 5).tolist() == [3, 1, 2, 0, 4]


def test_bgr_comes_into_the_graph() -> None:
    scaling = Scaling(scale=(0.5,), mean=(103.939, 116.779, 123.68), std=(2.0, 3.0, 4.0), bgr=True)
    tensors, _ = images()
    flat = keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten()])
    inside = np.asarray(raw_pixels(flat, SPEC, scaling).predict(tensors, verbose=0))
    np.testing.assert_allclose(inside, scaling.applied(tensors[..., ::-1]).reshape(60, -1), atol=1e-4)
    with pytest.raises(ConvertError, match="E-CONVERT-CHANNELS: --bgr needs 3 channels, the model takes 1"):
        raw_pixels(flat, InputSpec(height=4, width=4, channels=1), Scaling(bgr=True))


@pytest.mark.parametrize(
    "scaling",
    [TORCH, Scaling((-1 / 255,), (-1.0,)), Scaling((1 / 127.5,), (1.0,)), Scaling(std=(0.1, 2.0, 1 / 3)), Scaling(bgr=True)],
)
def test_the_options_that_are_named_give_the_same_scaling_again(scaling: Scaling, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        seen: list[KerasFile] = []
        patch.setattr("limiar.convert.pipeline.convert_run", lambda request, note: seen.append(request.origin) or 1 / 0)
        words = ["--model", "m.keras", "--data", str(tmp_path), "--out", str(tmp_path / "out"), *scaling.options.split()]
        CliRunner().invoke(convert, words)
    assert seen[0].scaling == scaling


def test_too_few_validation_images_to_tell_are_said_to_be_that() -> None:
    truth = np.array([0, 1])
    bare = keras.Sequential([keras.Input((4, 4, 3)), layers.GlobalAveragePooling2D(), layers.Dense(2)])
    logits = 8 * np.eye(2, dtype=np.float32)[truth]
    words = (bare, None, logits, np.zeros((2, 4, 4, 3), np.uint8), truth, ("neg", "pos"), "m.keras", True)
    with pytest.raises(ConvertError, match=r"2 of 2 .*too few to tell any model from chance .*give more validation images"):
        check_chance(*words, False)
    assert "too few to tell" in check_chance(*words, True).facts["chance"]


def test_an_allowed_model_is_no_plain_pass_wherever_its_verdict_is_shown(
    edited_run: Callable[..., Path], limiar_convert: Callable[..., Result], few_files: Callable[..., None], tmp_path: Path
) -> None:
    few_files()
    run, out = edited_run(labels=("pos", "neg")), tmp_path / "out"
    told = limiar_convert(run, "--out", out, "--allow-chance")
    verdict = "PASS, not shown to be better than chance on validation, allowed by --allow-chance"
    assert told.return_value == 0
    assert told.stdout.splitlines()[-1].startswith(f"{verdict}: ")
    assert json.loads((out / "report.json").read_bytes())["verdict"] == verdict
    assert open_bundle(out).manifest.verdict == verdict
    assert f"Verdict: {verdict}." in (out / "MODEL_CARD.md").read_text()
    page = (out / "report.html").read_text()
    assert f'<h1 class="unsure">{verdict}</h1>' in page
    assert "no better than chance" in page.partition("</header>")[0]
    skipped = ElementTree.parse(tmp_path / "out.measured" / "junit.xml").findall(".//testsuite[@name='Keras']//skipped")
    assert ["no better than chance" in case.attrib["message"] for case in skipped] == [True]
    inspected = CliRunner().invoke(limiar_group, ["inspect", str(out)])
    assert verdict in inspected.stdout.splitlines()[0]
    compared = CliRunner().invoke(limiar_group, ["compare", str(out), str(out)])
    assert f"The new bundle's verdict is {verdict}." in compared.stdout
