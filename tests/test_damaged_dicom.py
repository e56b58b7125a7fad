"""tests/harness/damaged_dicom.py, small: no damaged DICOM file ends the decoder, and none that is cut is answered."""

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

import damaged_dicom
from dicom_damage import DAMAGES, elements, parts, whole, whole_files

WHOLE = whole_files()


@pytest.fixture(scope="module")
def said(project: Path) -> str:
    command = [
        sys.executable,
        project / "tests" / "harness" / "damaged_dicom.py",
        "--count",
        "300",
        "--scans",
        "100",
        "--seed",
        "7",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


def test_every_damaged_file_is_answered_or_refused_by_a_code(said: str) -> None:
    assert said.startswith("seed 7\n")
    assert re.search(r"^\d+ files, 0 failed$", said, re.MULTILINE)


@pytest.mark.parametrize("kind", [*DAMAGES, "cut", "bomb"])
def test_every_way_of_damage_was_tried(said: str, kind: str) -> None:
    assert re.search(rf"^  {kind} .*E-", said, re.MULTILINE)


def test_no_file_that_is_cut_and_no_bomb_is_answered(said: str) -> None:
    for kind in ("cut", "bomb"):
        assert "answered" not in re.findall(rf"^  {kind} .*$", said, re.MULTILINE)[0]


def test_pydicom_alone_answers_files_that_are_cut_and_takes_the_memory_of_a_bomb(said: str) -> None:
    """The controls: without limiar's checks, the harness does find something."""
    answered, cuts = map(int, re.findall(r"pydicom alone answers (\d+) of (\d+) files", said)[0])
    assert 0 < answered <= cuts
    assert int(re.findall(r"pydicom alone takes (\d+) MB", said)[0]) > damaged_dicom.MEMORY_MB
    assert "control: a decoder that dies is seen 2 times\n" in said


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_taken_apart_and_put_together_again_is_answered(name: str) -> None:
    """The control of the damages: they change what they say, and nothing else."""
    data = WHOLE[name]
    meta, body, form = parts(data)
    assert elements(body, form)[-1].end == len(body)
    assert damaged_dicom.by_limiar(whole(meta, body)) == (damaged_dicom.ANSWERED, "")


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_at_any_of_its_last_bytes_is_refused(name: str) -> None:
    data = WHOLE[name]
    padded = 2 if name == "deflated" else 0  # one byte of padding and one of the stream's end
    for missing in range(1 + padded, 40):
        outcome, _ = damaged_dicom.by_limiar(data[:-missing])
        assert outcome in ("E-IMAGE-TRUNCATED", "E-IMAGE-BROKEN", "E-DICOM-LENGTH"), missing


def test_the_damages_are_the_same_for_the_same_seed() -> None:
    (data, *_) = WHOLE.values()
    first, second = ([damage(*parts(data)[1:], random.Random(3)) for damage in DAMAGES.values()] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", WHOLE)
def test_an_element_that_is_there_twice_is_refused(name: str) -> None:
    meta, body, form = parts(WHOLE[name])
    for element in elements(body, form):
        if element.tag == (0xFFFE, 0xE000) and element.end - element.start == 8:  # a fragment of no bytes, or an item's head
            continue
        for at in (element.end, len(body)):
            outcome, _ = damaged_dicom.by_limiar(whole(meta, body[:at] + body[element.start : element.end] + body[at:]))
            assert outcome.startswith("E-"), (element.tag, at)


def test_a_stray_marker_before_the_pixels_of_a_lossless_jpeg_does_not_end_the_process(tmp_path: Path) -> None:
    """GDCM throws when libjpeg warns of it, and nothing catches that: a worker would be lost."""
    (tmp_path / "file.dcm").write_bytes(WHOLE["jpeg_lossless"].replace(b"\xff\xc4", b"\xff\xd4", 1))
    (found,) = damaged_dicom.decoded({"file.dcm": tmp_path / "file.dcm"}, "limiar").values()
    assert found.outcome == "E-IMAGE-BROKEN"
