"""`limiar convert`, from a RUN to a bundle or a refusal."""

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import click
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from limiar.convert.commands import convert as cli
from limiar.convert.defaults import CARD
from limiar.convert.export.recipes import RECIPES, Recipe
from limiar.convert.pipeline import Converted
from limiar.convert.publish.publish import publish_bundle, publish_refusal
from limiar.convert.run.dataset import training_envelope
from limiar.convert.source.frameworks import keras
from limiar.convert.source.keras_file import load_model
from limiar.convert.source.keras_model import keras_logits
from limiar.convert.source.origin import RunFolder
from limiar.convert.source.source_model import read_source
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.errors import BundleError, ConvertError, LimiarError
from limiar.edge_app.inference.golden import check_golden, golden_tensors
from limiar.edge_app.runtimes import open_runtime
from limiar.train.record.run_folder import MODEL, RECORD, Run, SplitRow, record_json

Convert = Callable[..., Result]
Edit = Callable[..., Path]
Few = Callable[..., None]

GATE = """
required = ["{required}"]
inconclusive_passes = true
[noninferiority]
margin = 0.4
alpha = 0.05
[decision]
confidence = 0.95
[limits]
fp32_logit_difference = {difference}
"""


def code(result: Result) -> str:
    """The code of the error that a command ended with."""
    assert isinstance(result.exception, LimiarError), result.exception
    return result.exception.code


def test_a_run_becomes_a_bundle_with_every_file(bundle: Path) -> None:
    opened = open_bundle(bundle)
    assert set(opened.manifest.models) == {recipe.name for recipe in RECIPES}
    assert opened.manifest.default_file == "tflite_int8"
    assert {"report.html", "report.json", "MODEL_CARD.md"} <= {file.path for file in opened.manifest.files}


def test_another_process_makes_the_same_bytes_and_says_nothing_on_stderr(
    bundle: Path, run: Path, project: Path, tmp_path: Path
) -> None:
    out = tmp_path / "small"
    command = [sys.executable, "-P", "-m", "limiar", "convert", str(run), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONHASHSEED": "1"}, cwd=project)
    assert done.stderr == b""
    assert done.stdout.decode().endswith(f"PASS: {out}\n")
    files = sorted(path.relative_to(bundle) for path in bundle.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    assert [file for file in files if (out / file).read_bytes() != (bundle / file).read_bytes()] == []


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_the_device_s_code_gives_the_golden_logits(bundle: Path, recipe: Recipe) -> None:
    opened = open_bundle(bundle)
    file, data = opened.model(recipe.name)
    result = check_golden(golden_tensors(opened), opened.manifest.labels, file, open_runtime(recipe.runtime, data))
    assert result.images >= 64
    assert result.passed, result


def test_swapped_colour_channels_do_not_pass_for_the_golden_images(bundle: Path) -> None:
    opened = open_bundle(bundle)
    tensors = golden_tensors(opened)
    file, data = opened.model("tflite_int8")
    runtime = open_runtime("litert", data)
    expected = np.array(tensors.golden.logits[file.name])
    swapped = [np.ascontiguousarray(tensor[..., ::-1]) for tensor in tensors.tensors if tensor is not None]
    differences = np.abs(np.stack([runtime.logits(tensor) for tensor in swapped]) - expected).max(axis=1)
    assert (differences > file.tolerance.other_runtime).sum() >= 16


def test_the_manifest_says_where_the_model_comes_from_and_what_it_was_seen_on(bundle: Path, run: Path) -> None:
    manifest = open_bundle(bundle).manifest
    record = json.loads((run / "train.json").read_bytes())
    assert manifest.provenance.run["model_sha256"] == record["model_sha256"]
    assert manifest.provenance.data["splits_sha256"] == record["data"]["sha256"]
    assert manifest.provenance.tools["convert tensorflow"]
    assert manifest.labels == ("neg", "pos")
    for file in manifest.models.values():
        assert file.model is not None
        assert file.model.verified[0].runtime == ("litert" if file.model.format == "tflite" else "onnxruntime")
        assert {"accuracy", "sensitivity", "specificity", "auc", "agreement"} <= set(file.model.metrics)
        assert file.model.metrics["accuracy"].n == 240  # the test split


def test_the_manifest_and_the_report_have_operating_points_for_every_file(bundle: Path) -> None:
    opened = open_bundle(bundle)
    for file in opened.manifest.models.values():
        assert file.model is not None
        points = {point.name: point for point in file.model.operating_points}
        assert {"argmax", "sensitivity-0.95", "youden"} <= set(points)
        threshold = points["sensitivity-0.95"].decision.threshold
        assert threshold is not None
        assert points["sensitivity-0.95"].val["sensitivity"].value >= 0.95
        assert points["argmax"].test["sensitivity"] == file.model.metrics["sensitivity"]  # the label of all images
        assert f"pos from {threshold.at_least:.6g}" in opened.read("report.html").decode()


def test_the_manifest_has_the_run_s_envelope_and_of_an_older_run_that_of_its_training_images(
    bundle: Path, edited_run: Edit, images: tuple[Path, tuple[SplitRow, ...]]
) -> None:
    folder, rows = images
    measured = open_bundle(bundle).manifest.envelope
    assert measured == training_envelope(folder, rows, InputSpec(height=24, width=24, channels=3))  # the fixture's RUN has none
    assert measured is not None
    assert measured.images == 240
    known = msgspec.structs.replace(measured, images=17)
    found = read_source(RunFolder(edited_run(envelope=known)), seed=0)
    assert found.envelope == known


def test_nothing_in_the_bundle_tells_the_folder_of_the_images(bundle: Path, images: tuple[Path, object]) -> None:
    telling = [path for path in bundle.rglob("*") if path.is_file() and os.fsencode(images[0]) in path.read_bytes()]
    assert telling == []


def test_a_required_file_that_does_not_pass_refuses_the_bundle(
    limiar_convert: Convert, few_files: Few, run: Path, tmp_path: Path
) -> None:
    few_files("onnx_fp32")
    gate = tmp_path / "gate.toml"
    gate.write_text(GATE.format(required="onnx_fp32", difference=0))  # no two libraries add in the same order
    result = limiar_convert(run, "--out", tmp_path / "out", "--gate", gate, "--json")
    assert result.return_value == 3
    assert not (tmp_path / "out").exists()
    report = json.loads((tmp_path / "out.refused" / "report.json").read_bytes())
    assert report == json.loads(result.stdout)
    assert report["verdict"] == "REFUSED"
    found = next(file["findings"] for file in report["files"] if file["name"] == "onnx_fp32")
    assert {finding["check"] for finding in found if finding["verdict"] == "FAIL"} == {"fp32_logit_difference"}
    assert "REFUSED" in (tmp_path / "out.refused" / "report.html").read_text()


def test_a_file_that_is_not_required_is_left_out_by_name_and_the_options_stand_in_manifest_and_card(
    limiar_convert: Convert, few_files: Few, edited_run: Edit, tmp_path: Path
) -> None:
    few_files("tflite_int16x8")
    keras.utils.set_random_seed(1)  # an untrained network can be better than chance by luck
    image = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(8, 3)(keras.layers.Rescaling(1 / 255)(image))
    # HARD_SWISH has no 16-bit kernel: MobileNetV3 has it too.
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(keras.ops.hard_silu(x))))
    gate, card = tmp_path / "gate.toml", tmp_path / "card.md"
    gate.write_text(GATE.format(required="tflite_fp32", difference=0.01))
    card.write_text("## Data\n\nDrawn by a test, *not* by a scanner.\n")
    words = ["--gate", gate, "--card", card, "--name", "discs", "--version", "2.1.0", "--release-counter", "7"]
    words += ["--licence", "CC0-1.0", "--intended-use", "Tests alone.", "--allow-chance"]  # nobody has trained it
    result = limiar_convert(edited_run(model), "--out", tmp_path / "out", *words)
    assert result.return_value == 0
    line = next(line for line in result.stdout.splitlines() if line.startswith("tflite_int16x8"))
    assert line.endswith("LEFT OUT")
    bundle = open_bundle(tmp_path / "out")
    manifest = bundle.manifest
    assert "tflite_int16x8" not in manifest.models
    assert (manifest.name, manifest.version, manifest.release_counter) == ("discs", "2.1.0", 7)
    assert (manifest.licence, manifest.intended_use) == ("CC0-1.0", "Tests alone.")
    text = bundle.read("MODEL_CARD.md").decode()
    assert "Drawn by a test, *not* by a scanner." in text
    assert "Tests alone." in text
    assert re.search("- chance: .* right label for .*, no better than chance .*allowed by --allow-chance", text)


def test_a_bundle_that_is_there_survives_a_refusal_and_goes_with_a_success(converted: Converted, tmp_path: Path) -> None:
    out = tmp_path / "out"
    newer = msgspec.structs.replace(converted, report=msgspec.structs.replace(converted.report, version="2.0.0"))
    publish_bundle(out, converted, release_counter=1, seed=0, card=CARD)
    refused = publish_refusal(out, newer)
    assert open_bundle(out).manifest.version == "1.0.0"
    assert {path.name for path in refused.iterdir()} == {"report.html", "report.json", "predictions.csv", "junit.xml"}
    publish_bundle(out, newer, release_counter=2, seed=0, card=CARD)
    assert open_bundle(out).manifest.version == "2.0.0"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_not_a_bundle_is_not_replaced(converted: Converted, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("the only copy")
    with pytest.raises(BundleError, match="E-BUNDLE-OUT"):
        publish_bundle(tmp_path / "out", converted, release_counter=1, seed=0, card=CARD)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["out", "thesis.txt"]


def test_images_that_are_not_the_run_s_are_refused(
    limiar_convert: Convert, run: Path, images: tuple[Path, tuple[SplitRow, ...]], tmp_path: Path
) -> None:
    assert code(limiar_convert(run, "--data", tmp_path / "nowhere", "--out", tmp_path / "out")) == "E-CONVERT-DATA"
    other = tmp_path / "other"
    other.mkdir()
    for row in images[1]:
        Image.new("RGB", (24, 24), (9, 9, 9)).save(other / row.file)
    assert code(limiar_convert(run, "--data", other, "--out", tmp_path / "out")) == "E-CONVERT-DATA-HASH"
    assert not (tmp_path / "out").exists()


def test_a_model_other_than_the_run_s_is_refused(limiar_convert: Convert, edited_run: Edit, tmp_path: Path) -> None:
    folder = edited_run()
    (folder / MODEL).write_bytes((folder / MODEL).read_bytes() + b"\0")
    assert code(limiar_convert(folder, "--out", tmp_path / "out")) == "E-RUN-HASH"


def test_the_bytes_that_were_hashed_are_the_ones_that_are_loaded(
    run: Path, edited_run: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = edited_run()

    def exchanged(data: bytes, where: str) -> object:
        (folder / MODEL).write_bytes(b"another model")
        return load_model(data, where)

    monkeypatch.setattr("limiar.convert.source.source_model.load_model", exchanged)
    loaded = read_source(RunFolder(folder), seed=0).model
    for found, expected in zip(loaded.get_weights(), keras.saving.load_model(run / MODEL).get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_run_s_model_is_looked_through_as_well(limiar_convert: Convert, edited_run: Edit, tmp_path: Path) -> None:
    folder = edited_run()
    with zipfile.ZipFile(folder / MODEL, "a") as archive:
        archive.writestr("evil.py", "print()")
    record = msgspec.json.decode((folder / RECORD).read_bytes(), type=Run)
    sha256 = hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()
    (folder / RECORD).write_bytes(record_json(msgspec.structs.replace(record, model_sha256=sha256)))
    assert code(limiar_convert(folder, "--out", tmp_path / "out")) == "E-CONVERT-MEMBERS"


def test_a_run_s_softmax_is_cut_off_and_a_doubled_one_refused(run: Path, edited_run: Edit) -> None:
    model = keras.saving.load_model(run / MODEL)
    once = keras.Model(model.inputs[0], keras.layers.Softmax()(model.outputs[0]))
    found = read_source(RunFolder(edited_run(once)), seed=0)
    assert found.facts["head"] == "softmax cut off"
    pixels = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3)).astype(np.uint8)
    np.testing.assert_array_equal(keras_logits(found.model, pixels), keras_logits(model, pixels))
    with pytest.raises(ConvertError, match="E-CONVERT-SOFTMAX"):
        keras_logits(once, pixels)


def test_a_run_that_is_not_there_is_said_before_tensorflow_is_loaded(tmp_path: Path) -> None:
    words = ["-X", "importtime", "-P", "-c", "from limiar.edge_app.cli import main; main()", "convert", str(tmp_path / "none")]
    done = subprocess.run([sys.executable, *words, "--out", tmp_path / "out"], capture_output=True, timeout=120)
    assert done.returncode == 1
    assert b"E-RUN-MISSING" in done.stderr
    assert b"tensorflow" not in done.stderr


@pytest.mark.parametrize("missing", ["train.json", "model.keras", "splits.csv"])
def test_an_incomplete_run_is_refused(limiar_convert: Convert, edited_run: Edit, tmp_path: Path, missing: str) -> None:
    folder = edited_run()
    (folder / missing).unlink()
    assert code(limiar_convert(folder, "--out", tmp_path / "out")) == "E-RUN-MISSING"


def test_a_model_with_nan_weights_is_refused(limiar_convert: Convert, run: Path, edited_run: Edit, tmp_path: Path) -> None:
    model = keras.saving.load_model(run / MODEL)
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    assert code(limiar_convert(edited_run(model), "--out", tmp_path / "out")) == "E-CONVERT-FINITE"


@pytest.mark.parametrize(("side_px", "outputs", "expected"), [(24, 3, "E-CONVERT-OUTPUTS"), (32, 2, "E-CONVERT-INPUT")])
def test_a_model_that_does_not_fit_the_record_is_refused(
    limiar_convert: Convert, edited_run: Edit, tmp_path: Path, side_px: int, outputs: int, expected: str
) -> None:
    layers = keras.layers
    image = keras.Input((side_px, side_px, 3))
    model = keras.Model(image, layers.Dense(outputs)(layers.GlobalAveragePooling2D()(image)))
    assert code(limiar_convert(edited_run(model), "--out", tmp_path / "out")) == expected


def test_a_model_that_would_run_code_is_not_loaded(limiar_convert: Convert, edited_run: Edit, tmp_path: Path) -> None:
    layers = keras.layers
    image = keras.Input((24, 24, 3))
    x = layers.GlobalAveragePooling2D()(layers.Lambda(lambda x: x / 255.0)(image))
    model = keras.Model(image, layers.Dense(2)(x))
    assert code(limiar_convert(edited_run(model), "--out", tmp_path / "out")) == "E-CONVERT-MODEL"


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_card_that_is_no_text_is_refused(limiar_convert: Convert, run: Path, tmp_path: Path, content: bytes | None) -> None:
    card = tmp_path / "card.md"
    if content is not None:
        card.write_bytes(content)
    assert code(limiar_convert(run, "--out", tmp_path / "out", "--card", card)) == "E-CONVERT-CARD"


def test_help_loads_no_tensorflow() -> None:
    command = [sys.executable, "-P", "-X", "importtime", "-m", "limiar", "convert", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in loaded
    assert not {"tensorflow", "keras", "numpy", "onnx", "onnxruntime"} & loaded


def test_help_lists_every_option_once_in_groups() -> None:
    listed = [name for names in cli.GROUPS.values() for name in names]
    options = [param.name for param in cli.convert.params if isinstance(param, click.Option)]
    assert sorted(listed) == sorted(options)
    text = CliRunner().invoke(cli.convert, ["--help"]).stdout
    assert all(f"\n{title}:\n" in text for title in cli.GROUPS)
    places = [text.index(f"\n  {name} ") for name in ("--replace", "--bgr", "--require", "--json")]
    assert places == sorted(places)


@pytest.mark.parametrize("place", ["file/out", "file/deep/out", "/proc/none/out"])
def test_an_out_that_cannot_be_made_is_refused_before_the_work(
    limiar_convert: Convert, run: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    refused = limiar_convert(run, "--out", tmp_path / place)
    assert code(refused) == "E-BUNDLE-OUT"
    assert "in a folder that can be written" in str(refused.exception)
