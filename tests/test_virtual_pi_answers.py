"""How scripts/virtual_pi judges the answers of an emulated board: each difference fails its own check."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from limiar.edge_app.bundle.open import Bundle, open_bundle
from virtualpi.answers import Answers, Facts, Line, compared, scans_compared, steps_apart
from virtualpi.pictures import levels_compared

FILES = ("tflite_int8", "tflite_fp32")
FACTS = Facts({}, {}, {"litert": "2.3.0"}, {}, {"tflite_int8 litert": 0.25})
HERE = Answers(
    FACTS,
    "",
    np.zeros((2, 1, 1, 1), np.uint8),
    {f"{file} litert": np.array([[1, -2], [-4, 4]], np.float32) for file in FILES},
)


@pytest.fixture(scope="module")
def bundle(project: Path) -> Bundle:
    return open_bundle(project / "models" / "lung-nodule")


def failed(bundle: Bundle, there: Answers) -> set[str]:
    return {one.what for one in compared("", bundle, HERE, there, FILES) if not one.passed}


def changed(file: str, by: float) -> Answers:
    logits = HERE.logits[f"{file} litert"].copy()
    logits[0, 0] += by
    return HERE._replace(logits={**HERE.logits, f"{file} litert": logits})


def test_the_same_answers_pass(bundle: Bundle) -> None:
    assert failed(bundle, HERE) == set()


@pytest.mark.parametrize(("file", "by"), [("tflite_int8", 1e-7), ("tflite_int8", np.nan), ("tflite_fp32", 1e-5)])
def test_a_logit_that_differs_fails(bundle: Bundle, file: str, by: float) -> None:
    assert failed(bundle, changed(file, by)) == {f"{file} litert: differs"}


def test_a_float_logit_that_a_sum_in_another_order_gives_passes(bundle: Bundle) -> None:
    assert failed(bundle, changed("tflite_fp32", 2e-6)) == set()  # 4 is the largest: 5e-7 of it


def test_a_tensor_with_another_byte_fails(bundle: Bundle) -> None:
    assert failed(bundle, HERE._replace(tensors=HERE.tensors + np.uint8(1))) == {"2 golden tensors"}


def test_another_version_of_a_runtime_fails(bundle: Bundle) -> None:
    assert failed(bundle, HERE._replace(facts=msgspec.structs.replace(FACTS, runtimes={"litert": "2.4.0"}))) == {"runtimes"}


@pytest.mark.parametrize("files", [FILES[:1], ()])
def test_a_file_that_gives_no_answer_fails(bundle: Bundle, files: tuple[str, ...]) -> None:
    there = HERE._replace(logits={f"{file} litert": HERE.logits[f"{file} litert"] for file in files})
    assert failed(bundle, there) == {"files and runtimes that answer"}


@pytest.mark.parametrize(("steps", "passed"), [(3, True), (4, False)])
def test_two_runtimes_are_three_steps_apart_at_most(steps: int, passed: bool) -> None:
    assert steps_apart("", HERE, changed("tflite_int8", steps * 0.25), "tflite_int8").passed is passed


SCAN = (Line("a.png", "neg", "tflite_int8", "bundle", 0.9), Line("b.png", "refer", "tflite_int8", "bundle", 0.5))


@pytest.mark.parametrize(
    ("there", "fails"),
    [
        (SCAN, set()),
        (SCAN[:1], {"limiar scan: images"}),
        ((SCAN[0], msgspec.structs.replace(SCAN[1], path="c.png")), {"limiar scan: images"}),
        ((msgspec.structs.replace(SCAN[0], decision="pos"), SCAN[1]), {"limiar scan: decisions"}),
        # Referred because the confidence is another one: by the decision alone nothing would be seen.
        ((msgspec.structs.replace(SCAN[0], decision="refer", confidence=0.5), SCAN[1]), {"limiar scan: decisions"}),
        ((SCAN[0], msgspec.structs.replace(SCAN[1], verified="no")), {"limiar scan: verified by"}),
    ],
)
def test_a_scan_with_other_answers_fails(there: tuple[Line, ...], fails: set[str]) -> None:
    assert {one.what for one in scans_compared("", SCAN, there) if not one.passed} == fails


DICOM = {"a": "01", "b": "02", "c": "03", "d": "04", "broken": "E-IMAGE-BROKEN", "lossless": "05"}
LOSSLESS = {"lossless": "E-INSTALL-MISSING"}


def test_dicom_levels_that_are_equal_pass_without_those_that_need_gdcm() -> None:
    assert levels_compared("", DICOM, DICOM | LOSSLESS).passed


@pytest.mark.parametrize(
    "there", [{"a": "06"}, {"a": "E-IMAGE-BROKEN"}, {"broken": "07"}, dict.fromkeys("abcd", "E-INSTALL-MISSING")]
)
def test_a_dicom_picture_that_differs_fails(there: dict[str, str]) -> None:
    assert not levels_compared("", DICOM, DICOM | LOSSLESS | there).passed


def test_a_dicom_picture_that_is_missing_fails() -> None:
    assert not levels_compared("", DICOM, {name: DICOM[name] for name in "abc"} | LOSSLESS).passed
