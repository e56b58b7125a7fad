"""`limiar explain`: the answer that scan gives, and a map that points where it should."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.bundle.manifest import MANIFEST, InputSpec, MapGrid
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.image.resize import model_input
from limiar.edge_app.inference.explain import overlaid
from limiar.edge_app.runtimes import installed_runtimes, open_runtime

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]

SPEC = InputSpec(height=40, width=40, channels=3)
CELL_PX, GAIN = 8, 10.0  # of make_mapped_models.py
# Of a map value: fp32 adds 64 products in another order. int8 rounds features to 1/255, times the gain, and the map itself to
# steps of a few hundredths.
TOLERANCE = {"tflite_fp32": 1e-4, "onnx_fp32": 1e-4, "tflite_int8": 0.1}


@pytest.fixture
def spotted(tmp_path: Path) -> Path:
    """80x80, grey, with a red square in the upper right, at x 64..79 and y 16..31: one cell of the map."""
    pixels = np.full((80, 80, 3), 60, np.uint8)
    pixels[16:32, 64:80] = (240, 20, 20)
    Image.fromarray(pixels).save(tmp_path / "spotted.png")
    return tmp_path / "spotted.png"


@pytest.mark.parametrize("name", TOLERANCE)
def test_every_runtime_tells_logits_from_map_and_gives_the_map_that_a_calculation_by_hand_does(
    mapped_path: Path, name: str
) -> None:
    file, data = open_bundle(mapped_path).model(name)
    rng = np.random.default_rng(1)
    cells = rng.integers(0, 256, (5, 5, 3)).astype(np.uint8)
    tensor = model_input(cells.repeat(CELL_PX, axis=0).repeat(CELL_PX, axis=1), SPEC)
    wanted = cells[..., [2, 0]] * (GAIN / 255)  # neg is blue, pos red
    runtimes = installed_runtimes(file.format)
    if file.format == "onnx" and not runtimes:
        pytest.skip("onnxruntime is not installed in this environment")
    assert runtimes
    for found in runtimes:
        runtime = open_runtime(found.name, data)
        class_map = runtime.logits_and_map(tensor)[1]
        assert class_map is not None
        np.testing.assert_allclose(class_map, wanted, atol=TOLERANCE[name])
        logits = runtime.logits(tensor)
        assert (logits.shape, logits.dtype, class_map.dtype) == ((2,), np.float32, np.float32)
        np.testing.assert_allclose(logits, wanted.mean(axis=(0, 1)), atol=TOLERANCE[name])


def test_a_file_without_a_map_gives_none(tiny_path: Path) -> None:
    bundle = open_bundle(tiny_path)
    tensor = np.zeros((1, 40, 40, 3), np.uint8)
    for name in bundle.manifest.models:
        file, data = bundle.model(name)
        for found in installed_runtimes(file.format):
            assert open_runtime(found.name, data).logits_and_map(tensor)[1] is None


def test_the_golden_images_of_files_with_two_outputs_pass(mapped_path: Path, limiar: Limiar) -> None:
    done = limiar("verify", mapped_path, "--json")
    assert done.returncode == 0, done.stdout
    assert any(check["passed"] for check in json.loads(done.stdout)["checks"])


def test_the_answer_is_scan_s_and_the_peak_lies_in_the_spot(
    mapped_path: Path, spotted: Path, limiar: Limiar, tmp_path: Path
) -> None:
    out = tmp_path / "why.png"
    done = limiar("explain", mapped_path, spotted, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    scanned = json.loads(limiar("scan", mapped_path, spotted, "--jsonl", "-").stdout)
    same = set(scanned) - {"ms", "time", "stored"}
    assert {key: found[key] for key in same} == {key: scanned[key] for key in same}
    assert found["label"] == "pos"
    assert found["outside"] is None  # the bundle has no envelope
    assert np.shape(found["class_map"]) == (5, 5)
    assert np.unravel_index(np.argmax(found["class_map"]), (5, 5)) == (1, 4)
    x, y = found["peak"]
    assert 64 <= x < 80
    assert 16 <= y < 32
    with Image.open(out) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[:2] == (400 + 36 + 44, 400 + 8 + 400)  # the image, its map, below both the scale and the answer
    plain, under = pixels[:400, :400], pixels[:400, 408:]
    with Image.open(spotted) as image:
        enlarged = image.convert("RGB").resize((400, 400), Image.Resampling.NEAREST)
        assert np.array_equal(plain, np.asarray(enlarged))
    spot, elsewhere = under[90:150, 330:390], under[250:390, 10:300]
    assert (spot[..., 0] > spot[..., 2] + 80).all()  # red
    assert (elsewhere[..., 0] < elsewhere[..., 2] + 20).all()  # the colours' blue end, over grey


def test_a_person_gets_two_lines_and_referring_follows_the_option(
    mapped_path: Path, spotted: Path, limiar: Limiar, tmp_path: Path
) -> None:
    for below, decision in (("0", "pos"), ("1", "refer")):
        done = limiar("explain", mapped_path, spotted, "--out", tmp_path / "why.png", "--refer-below", below)
        first, second = done.stdout.decode().splitlines()
        assert first.startswith(f"{decision}: pos ")
        assert second.startswith("strongest evidence for pos at x=72, y=24 (map of 5x5): ")


def test_what_follows_the_picture_in_its_file_is_said_as_scan_says_it(
    mapped_path: Path, spotted: Path, limiar: Limiar, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.jpg"
    with Image.open(spotted) as image:
        image.save(photo, quality=95)
    plain = limiar("explain", mapped_path, photo, "--out", tmp_path / "why.png", "--json")
    assert "trailing" not in json.loads(plain.stdout)
    photo.write_bytes(photo.read_bytes() + bytes(160))
    scanned = json.loads(limiar("scan", mapped_path, photo, "--jsonl", "-").stdout)
    found = json.loads(limiar("explain", mapped_path, photo, "--out", tmp_path / "why.png", "--json").stdout)
    assert found["trailing"] == scanned["trailing"] == "padding"
    told = limiar("explain", mapped_path, photo, "--out", tmp_path / "why.png").stdout.decode().splitlines()
    assert told[-1] == "the picture in the file is followed by padding"


def test_a_bundle_without_a_map_is_refused_with_what_to_do(
    tiny_path: Path, spotted: Path, limiar: Limiar, tmp_path: Path
) -> None:
    done = limiar("explain", tiny_path, spotted, "--out", tmp_path / "why.png")
    assert done.returncode == 1
    assert done.stderr.startswith(b"E-BUNDLE-MAP: tflite_int8 of ")
    assert b"--cam" in done.stderr
    assert not (tmp_path / "why.png").exists()


def test_a_map_of_another_size_than_the_manifest_says_is_refused(
    mapped_path: Path, spotted: Path, limiar: Limiar, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(mapped_path, tmp_path / "mapped"))
    manifest = (copy / MANIFEST).read_text()
    (copy / MANIFEST).write_text(re.sub(r'("class_map": \{\s+"height": )5', r"\g<1>4", manifest))
    assert (copy / MANIFEST).read_text() != manifest
    done = limiar("explain", copy, spotted, "--out", tmp_path / "why.png")
    assert done.stderr.startswith(b"E-BUNDLE-MAP: tflite_int8 gives a map of (5, 5, 2), the manifest says (4, 5, 2)")


def test_an_image_that_is_refused_and_a_place_that_cannot_be_written_end_with_one_line(
    mapped_path: Path, spotted: Path, limiar: Limiar, tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "black.png")
    for image, out, code in (
        (tmp_path / "black.png", tmp_path / "why.png", b"E-IMAGE-UNIFORM"),
        (tmp_path / "gone.png", tmp_path / "why.png", b"E-IMAGE-MISSING"),
        (spotted, tmp_path / "no folder" / "why.png", b"E-EXPLAIN-OUT"),
        (spotted, tmp_path / "why.jpg", b"E-EXPLAIN-OUT"),
    ):
        done = limiar("explain", mapped_path, image, "--out", out)
        assert done.returncode == 1
        assert done.stderr.startswith(code)
        assert done.stderr.count(b"\n") == 1
        assert not out.exists()


def test_the_image_itself_is_not_overwritten(mapped_path: Path, spotted: Path, limiar: Limiar, tmp_path: Path) -> None:
    before = spotted.read_bytes()
    done = limiar("explain", mapped_path, spotted, "--out", spotted)
    assert (done.returncode, spotted.read_bytes()) == (1, before)
    assert done.stderr.startswith(b"E-EXPLAIN-OUT")


def test_a_flat_map_colours_nothing_but_its_lowest_colour() -> None:
    grey = np.full((30, 30, 3), 128, np.uint8)
    flat = overlaid(grey, np.full((3, 3), 7.0, np.float32), MapGrid(3, 3, (2.0, 2.0), (5.0, 5.0)), SPEC)
    assert (flat == flat[0, 0]).all()


def test_cells_are_drawn_where_the_grid_says_that_they_look() -> None:
    heat = np.zeros((5, 5), np.float32)
    heat[1, 2] = 1.0
    grey = np.full((400, 400, 3), 128, np.uint8)
    for first in (3.5, 7.0):  # of the model's 40 pixels
        red = overlaid(grey, heat, MapGrid(5, 5, (first, first), (8.0, 8.0)), SPEC)[..., 0].astype(int)
        y, x = (axis.mean() for axis in np.nonzero(red == red.max()))
        assert (y, x) == (pytest.approx((first + 8 + 0.5) * 10, abs=6), pytest.approx((first + 16 + 0.5) * 10, abs=6))
