"""Not assessable: an image beyond the bundle's limits is refused with its reason, everywhere in the same way."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.bundle.manifest import Assessable, Limit, manifest_json, parse_manifest
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.control import AskStatus, ask
from limiar.edge_app.errors import BundleError, ImageError
from limiar.edge_app.health.status import Status
from limiar.edge_app.image.assessable import check_limits
from limiar.edge_app.image.statistics import noise
from limiar.edge_app.inference.open_classifier import open_classifier
from limiar.edge_app.inference.session import Session
from services import Service

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]
LIMITS = Assessable(0.005, {"mean": Limit(20.0, 220.0), "noise": Limit(at_most=30.0), "sharpness": Limit(at_least=100.0)})


@pytest.fixture
def bundle(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """The tiny bundle, with limits."""
    contents = {file.path: tiny_bundle.read(file.path) for file in tiny_bundle.manifest.files}
    write_bundle(tmp_path / "limited", msgspec.structs.replace(tiny_bundle.manifest, assessable=LIMITS), contents)
    return tmp_path / "limited"


def picture() -> np.ndarray:
    """uint8 [50, 50]: a bright square with a sharp edge, and no noise."""
    image = np.full((50, 50), 60, np.uint8)
    image[15:35, 15:35] = 200
    return image


PICTURES = {
    "good": picture(),
    "blurred": np.asarray(cv2.GaussianBlur(picture(), (0, 0), 8), np.uint8),
    "dark": picture() // 8,
    "noisy": np.random.default_rng(0).integers(0, 256, (50, 50), np.uint8),
}
SAID = {"blurred": "too blurred: sharpness", "dark": "too dark: mean", "noisy": "too noisy: noise"}


def test_the_reason_is_in_words_with_what_was_found_and_the_limit() -> None:
    with pytest.raises(ImageError) as error:
        check_limits(LIMITS, {"sharpness": 12.13, "mean": 100.0, "noise": 3.0})
    assert error.value.code == "E-IMAGE-UNASSESSABLE"
    assert error.value.message == "too blurred: sharpness 12.1, at least 100, not assessable: check focus and lens"


def test_a_value_just_beyond_a_limit_can_be_told_from_it() -> None:
    with pytest.raises(ImageError, match=r"mean 220\.04, at most 220, not"):
        check_limits(LIMITS, {"sharpness": 500.0, "mean": 220.04, "noise": 3.0})


def test_values_on_a_limit_are_assessable() -> None:
    check_limits(LIMITS, {"sharpness": 100.0, "mean": 220.0, "noise": 30.0})


def test_other_statistics_say_that_the_image_is_unlike_those_of_training() -> None:
    with pytest.raises(ImageError, match=r"unlike the images that the model was trained on: colour 40, at most 2, "):
        check_limits(Assessable(0.01, {"colour": Limit(at_most=2.0)}), {"colour": 40.0})


@pytest.mark.parametrize("deviation", [2.0, 10.0, 30.0])
def test_the_noise_estimate_finds_the_noise_on_a_smooth_ramp(deviation: float) -> None:
    ramp = np.linspace(100, 150, 200)[None, :, None].repeat(200, axis=0)
    noisy = np.rint(ramp + np.random.default_rng(0).normal(0, deviation, ramp.shape)).clip(0, 255).astype(np.uint8)
    assert noise(noisy[None]) == pytest.approx(deviation, rel=0.05)
    assert noise(np.repeat(noisy[None], 3, axis=-1)) == noise(noisy[None])
    assert noise(np.zeros((1, 2, 2, 1), np.uint8)) == 0


@pytest.mark.parametrize("name", PICTURES)
def test_a_classifier_refuses_what_is_beyond_and_answers_the_rest(bundle: Path, name: str) -> None:
    with open_classifier(bundle) as classify:
        if name == "good":
            assert classify(PICTURES[name]).label in classify.labels
            return
        with pytest.raises(ImageError, match=SAID[name]) as error:
            classify(PICTURES[name])
    assert error.value.code == "E-IMAGE-UNASSESSABLE"


def test_a_scan_has_the_reason_and_no_label(bundle: Path, tmp_path: Path, limiar: Limiar) -> None:
    (tmp_path / "images").mkdir()
    for name, pixels in PICTURES.items():
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
    done = limiar("scan", bundle, tmp_path / "images", "--outside", "ignore")
    lines = {Path(line["path"]).stem: line for line in map(json.loads, done.stdout.splitlines())}
    assert "code" not in lines.pop("good")
    for name, line in lines.items():
        assert (line["decision"], line.get("label"), line["code"]) == ("refused", None, "E-IMAGE-UNASSESSABLE")
        assert line["message"].startswith(SAID[name])


def test_a_bundle_without_limits_refuses_nothing_for_them(tiny_path: Path) -> None:
    with open_classifier(tiny_path) as classify:
        for pixels in PICTURES.values():
            assert classify(pixels).label in classify.labels


def test_the_limits_are_in_the_manifest_only_if_there_are_any(bundle: Path, tiny_bundle: Bundle) -> None:
    assert b"assessable" not in manifest_json(tiny_bundle.manifest)
    manifest = open_bundle(bundle).manifest
    assert manifest.assessable == LIMITS
    assert parse_manifest(manifest_json(manifest), "here") == manifest
    assert Session(open_bundle(bundle)).model.limits == LIMITS


@pytest.mark.parametrize(("before", "after"), [(b'"at_least": 100.0', b'"at_least": "x"'), (b'"sharpness"', b'"beauty"')])
def test_limits_that_are_none_are_refused_with_the_manifest(bundle: Path, before: bytes, after: bytes) -> None:
    raw = (bundle / "manifest.json").read_bytes()
    assert before in raw
    with pytest.raises(BundleError, match=r"assessable"):
        parse_manifest(raw.replace(before, after), "here")


def test_a_service_puts_it_into_quarantine_and_counts_it(bundle: Path, tmp_path: Path) -> None:
    ok, data = cv2.imencode(".png", PICTURES["blurred"])
    assert ok
    with Service(tmp_path / "device", bundle) as service:
        service.put("blurred.png", data.tobytes())
        service.wait(service.quarantined, 60)
        assert service.quarantined()["blurred.png"]["code"] == "E-IMAGE-UNASSESSABLE"
        reply = ask(service.state, AskStatus())
        assert reply
        assert msgspec.json.decode(reply, type=Status).totals.not_assessable == 1
