"""`limiar convert --model M.keras --data DIR`: a classifier that limiar has not trained, from file to bundle."""

import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from limiar.convert.export.recipes import RECIPES
from limiar.convert.source.frameworks import keras
from limiar.convert.source.source_model import check_labels, in_order
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.signature import Keys, read_public_key
from limiar.edge_app.cli import limiar as limiar_group
from limiar.edge_app.errors import ConvertError, LimiarError
from limiar.edge_app.inference.golden import check_golden, golden_tensors
from limiar.edge_app.runtimes import open_runtime
from limiar.train.dataset.splits import Shares
from limiar.train.record.run_folder import MODEL, SplitRow, splits_csv

Convert = Callable[..., Result]
Few = Callable[..., None]
layers = keras.layers

GATE = """
required = ["tflite_fp32", "tflite_int8", "onnx_fp32"]
inconclusive_passes = true
[noninferiority]
margin = 0.4
alpha = 0.05
[decision]
confidence = 0.95
[limits]
fp32_logit_difference = 0.01
"""
LABELS = ("flat", "lying", "standing")
SIDE = (20, 16)  # height, width of the model
EACH = 50  # images of a label


def code(result: Result) -> str:
    assert isinstance(result.exception, LimiarError), result.exception
    assert "\n" not in str(result.exception)
    return result.exception.code


def stripes(rng: np.random.Generator, label: str) -> np.ndarray:
    """uint8 [30, 26]: horizontal or vertical stripes on noise."""
    y, x = np.mgrid[:30, :26]
    along = {"flat": 0 * x, "lying": y, "standing": x}[label]
    wave = np.sin(along * rng.uniform(0.8, 1.2) + rng.uniform(0, 6)) if label != "flat" else 0 * y
    return np.clip(128 + 60 * wave + rng.normal(0, 12, y.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of three labels, with grey images."""
    data = tmp_path_factory.mktemp("stripes")
    rng = np.random.default_rng(5)
    for label in LABELS:
        (data / label).mkdir()
        for index in range(EACH):
            Image.fromarray(stripes(rng, label)).save(data / label / f"{index:02}.png")
    return data


def striped_model() -> "keras.Model":
    """Grey, with the layers that conversion stumbles over: Normalization, hard swish, a nested model, a softmax of its own."""
    image = keras.Input((*SIDE, 1))
    x = layers.Normalization(mean=[0.5], variance=[0.04])(image)
    x = keras.ops.hard_silu(layers.Conv2D(8, 5, padding="same")(x))
    x = layers.BatchNormalization(momentum=0.8)(layers.MaxPooling2D(2)(x))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(12, 3, activation="relu")(x))
    end = keras.Sequential([keras.Input((12,)), layers.Dropout(0.1), layers.Dense(3), layers.Softmax()])
    return keras.Model(image, end(x), name="stripes")


@pytest.fixture(scope="module")
def trained(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .keras file that takes pixels 0..1 and gives probabilities."""
    rng = np.random.default_rng(6)
    names = [LABELS[index % 3] for index in range(180)]
    pixels = np.stack([np.asarray(Image.fromarray(stripes(rng, name)).resize(SIDE[::-1])) for name in names])
    keras.utils.set_random_seed(1)
    model = striped_model()
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="sparse_categorical_crossentropy")
    model.fit(pixels[..., None] / 255.0, np.arange(180) % 3, batch_size=20, epochs=15, verbose=0)
    path = tmp_path_factory.mktemp("model") / "stripes.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gate") / "gate.toml"
    path.write_text(GATE)
    return path


@pytest.fixture(scope="module")
def made(trained: Path, folders: Path, gate: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Its bundle, and what was on stderr; made in the project's folder, where .venv-tflite is."""
    out = tmp_path_factory.mktemp("bundles") / "stripes"
    words = ["--model", trained, "--data", folders, "--scale", "1/255", "--gate", gate, "--out", out]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "limiar", "convert", *words], capture_output=True, text=True, cwd=project
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stderr


def test_every_file_that_can_be_made_is_in_the_bundle_and_another_is_named_with_the_reason(made: tuple[Path, str]) -> None:
    bundle = open_bundle(made[0])
    assert set(bundle.manifest.models) == {recipe.name for recipe in RECIPES} - {"tflite_int16x8"}
    report = json.loads(bundle.read("report.json"))
    (left_out,) = (file for file in report["files"] if file["verdict"] != "PASS")
    assert (left_out["name"], left_out["verdict"]) == ("tflite_int16x8", "LEFT OUT")
    assert "HARD_SWISH" in left_out["findings"][0]["message"]


@pytest.mark.parametrize("name", sorted({recipe.name for recipe in RECIPES} - {"tflite_int16x8"}))
def test_a_file_takes_raw_pixels_and_agrees_with_the_model_as_it_was_given(
    made: tuple[Path, str], trained: Path, name: str
) -> None:
    bundle = open_bundle(made[0])
    file, data = bundle.model(name)
    runtime = open_runtime(file.expected_runtime, data)
    assert check_golden(golden_tensors(bundle), bundle.manifest.labels, file, runtime).passed
    rng = np.random.default_rng(7)
    pixels = np.stack([stripes(rng, label)[:20, :16] for label in LABELS])[..., None]
    expected = keras.saving.load_model(trained).predict(pixels / 255.0, verbose=0)
    logits = np.stack([runtime.logits(image[None]) for image in pixels]).astype(np.float64)
    found = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-4 if name.endswith("fp32") else 0.1)


def test_every_runtime_agrees(made: tuple[Path, str]) -> None:
    report = json.loads(open_bundle(made[0]).read("report.json"))
    for file in report["files"]:
        for result in file["runtimes"]:
            assert result["error"] is None
            assert result["test"]["largest_difference"] < (0.001 if file["name"].endswith("fp32") else 1.0)


def test_the_bundle_says_which_file_it_comes_from_and_that_the_test_split_was_drawn(
    made: tuple[Path, str], trained: Path
) -> None:
    manifest = open_bundle(made[0]).manifest
    assert manifest.labels == LABELS
    assert manifest.positive is None
    assert (manifest.input.height, manifest.input.width, manifest.input.channels) == (20, 16, 1)
    facts = manifest.provenance.run
    assert facts["model"] == "stripes.keras"
    assert facts["model_sha256"] == hashlib.sha256(trained.read_bytes()).hexdigest()
    assert facts["splits"] == "drawn, seed 0: evidence only if the model never saw the test images"
    assert facts["head"] == "softmax cut off"
    assert facts["scaling"] == "x * (0.00392157), then (x - (0)) / (1)"
    assert manifest.provenance.data["images"] == str(3 * EACH)
    assert manifest.provenance.tools["train keras"] == keras.__version__
    assert manifest.provenance.seeds == {"convert": 0}
    card = open_bundle(made[0]).read("MODEL_CARD.md").decode()
    assert "evidence only if the model never saw the test images" in card
    assert "drawn here: the figures are evidence only if the model was not trained on them" in card
    assert "neither training" not in card
    assert made[1].startswith("the test split was drawn here: its figures are evidence only if")
    assert made[1].count("\n") == 1


def test_the_splits_are_those_that_train_would_draw(made: tuple[Path, str]) -> None:
    report = json.loads(open_bundle(made[0]).read("report.json"))
    assert report["images"]["test"] == pytest.approx(Shares.test * 3 * EACH, abs=3)
    assert report["images"]["val"] == pytest.approx(Shares.val * 3 * EACH, abs=3)


def test_such_a_bundle_is_the_same_as_itself_for_limiar_compare(made: tuple[Path, str]) -> None:
    result = CliRunner().invoke(limiar_group, ["compare", str(made[0]), str(made[0]), "--json"], standalone_mode=False)
    assert result.exception is None
    assert json.loads(result.stdout)["summary"] == "tflite_int8: same flat, lying, standing"


# A model with one unit, its splits given.


@pytest.fixture(scope="module")
def one_unit(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The RUN's model with one sigmoid in place of two logits: the same answers."""
    model = keras.saving.load_model(run / MODEL)
    kernel, bias = model.layers[-1].get_weights()
    last = layers.Dense(1, activation="sigmoid")
    single = keras.Model(model.inputs[0], last(model.layers[-1].input), name="single")
    last.set_weights([kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]])
    path = tmp_path_factory.mktemp("single") / "single.keras"
    single.save(path)
    return path


def table(folder: Path, rows: tuple[SplitRow, ...]) -> Path:
    """A --csv of these rows."""
    (folder / "images.csv").write_bytes(splits_csv(rows))
    return folder / "images.csv"


def test_a_sigmoid_model_with_its_own_splits_converts_twice_to_the_same_bytes_and_is_signed(
    limiar_convert: Convert,
    few_files: Few,
    one_unit: Path,
    images: tuple[Path, tuple[SplitRow, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few_files("tflite_int8", "onnx_fp32")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")  # no date is in a bundle, and this changes nothing
    data, rows = images
    words = ["--model", one_unit, "--data", data, "--csv", table(tmp_path, rows), "--out", tmp_path / "out"]
    CliRunner().invoke(limiar_group, ["keygen", str(tmp_path / "release")])
    words += ["--verify-repeatable", "--release-counter", "3", "--sign", tmp_path / "release.key"]
    result = limiar_convert(*words)
    assert result.return_value == 0, result.exception
    manifest = open_bundle(tmp_path / "out", Keys((read_public_key(tmp_path / "release.pub"),))).manifest
    assert set(manifest.models) == {"tflite_fp32", "tflite_int8", "onnx_fp32"}
    assert (manifest.labels, manifest.positive) == (("neg", "pos"), "pos")
    assert manifest.provenance.run["head"] == "sigmoid cut off, one unit made two logits"
    assert manifest.provenance.run["splits"] == "given"
    assert "whoever gave the splits answers for" in open_bundle(tmp_path / "out").read("MODEL_CARD.md").decode()
    assert manifest.release_counter == 3
    assert manifest.provenance.data["splits_sha256"] == hashlib.sha256(splits_csv(rows)).hexdigest()
    assert result.stderr == ""


# Labels in another order than the folders' names.


def test_labels_in_another_order_are_refused_and_the_order_that_is_named_makes_the_bundle(
    limiar_convert: Convert, few_files: Few, trained: Path, folders: Path, gate: Path, tmp_path: Path
) -> None:
    few_files("tflite_int8", "onnx_fp32")
    model = keras.saving.load_model(trained)
    last = model.layers[-1].layers[-2]
    kernel, bias = last.get_weights()
    last.set_weights([kernel[:, [2, 0, 1]], bias[[2, 0, 1]]])
    model.save(tmp_path / "m.keras")
    words = ["--model", tmp_path / "m.keras", "--data", folders, "--scale", "1/255", "--gate", gate, "--out", tmp_path / "out"]
    refused = limiar_convert(*words)
    assert code(refused) == "E-CONVERT-CHANCE"
    named = str(refused.exception).partition("--labels FILE that lists ")[2].partition(", one a line")[0]
    assert named == "standing, flat, lying"
    assert not (tmp_path / "out").exists()
    (tmp_path / "labels.txt").write_bytes(b"\xef\xbb\xbf" + named.replace(", ", "\r\n").encode() + b"\r\n\r\n")
    done = limiar_convert(*words, "--labels", tmp_path / "labels.txt")
    assert done.return_value == 0, done.exception
    bundle = open_bundle(tmp_path / "out")
    assert bundle.manifest.labels == ("standing", "flat", "lying")
    assert bundle.manifest.provenance.run["order of the outputs"] == "labels.txt"
    assert json.loads(bundle.read("report.json"))["keras"]["val"]["metrics"]["accuracy"]["value"] > 0.8


@pytest.mark.parametrize(
    "listed",
    [b"", b"flat\nlying\n", b"flat\nlying\nstanding\nflat\n", b"flat\nlying\nSTANDING\n", b"\xff\n", b"a\n" * (1 << 20)],
)
def test_a_list_of_other_labels_than_the_images_is_refused(
    limiar_convert: Convert, trained: Path, folders: Path, tmp_path: Path, listed: bytes
) -> None:
    (tmp_path / "labels.txt").write_bytes(listed)
    words = ["--model", trained, "--data", folders, "--out", tmp_path / "out", "--labels", tmp_path / "labels.txt"]
    assert code(limiar_convert(*words)) == "E-CONVERT-LABEL"


# What is refused.


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["RUN", "--model", "m.keras", "--data", "images"],
        ["--model", "m.keras"],
        ["RUN", "--csv", "images.csv"],
        ["RUN", "--positive", "pos"],
        ["RUN", "--scale", "1/255"],
        ["RUN", "--bgr"],
        ["RUN", "--labels", "labels.txt"],
        ["--model", "m.keras", "--data", "images", "--scale", "1/0"],
        ["--model", "m.keras", "--data", "images", "--mean", "0.5;0.5"],
        ["--model", "m.keras", "--data", "images", "--mean", "nan"],
        ["--model", "m.keras", "--data", "images", "--std", "1,0,1"],
    ],
)
def test_a_command_that_says_two_things_or_none_is_a_usage_error(limiar_convert: Convert, words: list[str]) -> None:
    result = limiar_convert(*words, "--out", "out")
    assert isinstance(result.exception, click.UsageError)
    assert result.exception.exit_code == 2


def plain(outputs: int, shape: tuple[int | None, ...] = (*SIDE, 1), **options: object) -> "keras.Model":
    return keras.Sequential([keras.Input(shape), layers.GlobalAveragePooling2D(), layers.Dense(outputs, **options)])


def doubled() -> "keras.Model":
    return keras.Sequential([plain(3, activation="softmax"), layers.Softmax()])


@pytest.mark.parametrize(
    ("model", "words", "expected"),
    [
        (lambda: plain(3, (None, None, 1)), [], "E-CONVERT-INPUT"),
        (lambda: plain(3, (*SIDE, 4)), [], "E-CONVERT-INPUT"),
        (lambda: plain(2), [], "E-CONVERT-OUTPUTS"),
        (lambda: plain(3, activation="sigmoid"), [], "E-CONVERT-SIGMOID"),
        (doubled, [], "E-CONVERT-SOFTMAX"),
        (lambda: plain(3), ["--mean", "1,2,3"], "E-CONVERT-CHANNELS"),
        (lambda: plain(3), ["--positive", "lying"], "E-CONVERT-POSITIVE"),
        (lambda: plain(3, bias_initializer=keras.initializers.Constant(np.inf)), [], "E-CONVERT-FINITE"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    limiar_convert: Convert,
    folders: Path,
    tmp_path: Path,
    model: Callable[[], "keras.Model"],
    words: list[str],
    expected: str,
) -> None:
    model().save(tmp_path / "m.keras")
    result = limiar_convert("--model", tmp_path / "m.keras", "--data", folders, "--out", tmp_path / "out", *words)
    assert code(result) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["m.keras"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: [row for row in rows if row["split"] != "train"], "E-DATA-FEW"),  # nothing to calibrate with
        (lambda rows: [row for row in rows if row["split"] != "train"] + two_of_each(rows), "E-CONVERT-CALIBRATION-SIZE"),
        (lambda rows: [row for row in rows if (row["split"], row["label"]) != ("train", "flat")], "E-DATA-FEW"),
        (lambda rows: [row for row in rows if (row["split"], row["label"]) != ("test", "flat")], "E-DATA-FEW"),
        (lambda rows: [*rows, rows[0] | {"file": "copy.png", "split": "test"}], "E-DATA-DUPLICATE"),
        (lambda rows: [*rows, rows[0] | {"file": "copy.png", "label": "lying"}], "E-DATA-BOTH-LABELS"),
        (lambda rows: [row for row in rows if row["label"] == "flat"], "E-DATA-ONE-CLASS"),
        (lambda rows: [*rows, rows[0] | {"file": "gone.png"}], "E-DATA-IMAGE"),
    ],
)
def test_images_that_prove_nothing_are_refused(
    limiar_convert: Convert,
    trained: Path,
    folders: Path,
    tmp_path: Path,
    change: Callable[[list[dict[str, str]]], list[dict[str, str]]],
    expected: str,
) -> None:
    parts = ("train", "train", "train", "val", "test")
    rows = [
        {"file": f"{label}/{index:02}.png", "label": label, "split": parts[index % 5]}
        for label in LABELS
        for index in range(EACH)
    ]
    (folders / "copy.png").write_bytes((folders / rows[0]["file"]).read_bytes())
    with (tmp_path / "images.csv").open("w") as file:
        writer = csv.DictWriter(file, ("file", "label", "split"))
        writer.writeheader()
        writer.writerows(change(rows))
    words = ["--model", trained, "--data", folders, "--csv", tmp_path / "images.csv", "--out", tmp_path / "out"]
    result = limiar_convert(*words)
    (folders / "copy.png").unlink()
    assert code(result) == expected


def two_of_each(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    training = [row for row in rows if row["split"] == "train"]
    return [row for label in LABELS for row in [row for row in training if row["label"] == label][:2]]


@pytest.mark.parametrize(
    "labels", [tuple(map(str, range(1001))), ("neg", "refer"), ("refused", "x"), ("a\nb", "x"), ("\udcff", "x")]
)
def test_labels_that_no_bundle_can_hold_are_refused(labels: tuple[str, ...]) -> None:
    check_labels(("neg", "größer", *map(str, range(998))))
    with pytest.raises(ConvertError, match="E-CONVERT-LABEL"):
        check_labels(labels)


def test_a_label_is_known_also_where_its_accent_is_written_otherwise(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("th\u00e9\ncaf\u00e9\n", encoding="utf-8")
    assert in_order(tmp_path / "labels.txt", ("cafe\u0301", "th\u00e9")) == ("th\u00e9", "cafe\u0301")


def test_the_help_shows_both_ways() -> None:
    context = click.Context(limiar_group.get_command(click.Context(limiar_group), "convert"))
    text = context.command.get_help(context)
    assert "limiar convert runs/first --out bundles/first" in text
    assert "limiar convert --model m.keras --data images/" in text
