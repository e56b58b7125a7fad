"""The test files of pydicom and pydicom-data: each is answered, or refused with the code that is right.

edge_app/data/dicom_corpus.json says which, and why where that needs a word. Stored values are those of a second decoder (dcmtk,
GDCM), levels those of the rule computed again in fractions, and one picture in several transfer syntaxes has the same pixels.
"""

import contextlib
import fnmatch
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_windowing

from dicom_bundles import dicom_bundle
from dicom_encoders import ENCODERS, HTJ2K, encoded, high_throughput, missing_packages, pictures
from dicom_files import dicom_file
from dicom_reference import corpus, grey_levels, is_padding, missing_tools, modality_values, rgb_levels, stored_values
from limiar.edge_app.bundle.manifest import DicomSpec, InputSpec, Window
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers import dicom as container
from limiar.edge_app.image.decoders import dicom as decoder
from limiar.edge_app.image.read import decode, opened

TABLE = Path(__file__).parent / "edge_app" / "data" / "dicom_corpus.json"
WINDOW = Window(centre=40, width=400)
BUNDLES = InputSpec(height=40, width=40, channels=3, dicom=DicomSpec(window=WINDOW))
FILES_OWN = InputSpec(height=40, width=40, channels=3, dicom=DicomSpec())
ANSWERED = "answered"
CORPUS = corpus()
EXPECTED: dict[str, dict[str, str]] = json.loads(TABLE.read_text())
REQUIRED = os.environ.get("LIMIAR_REQUIRE_DATA") == "1"
FRAMES = 3  # compared of a file with many
MANY_FRAMES = "pydicom-data/color3d_jpeg_baseline.dcm"  # 120, which take a second decoder long; examples_ybr_color.dcm has 30


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """pydicom warns of much in these files, and that is what they are for."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings(action="ignore"):
        yield
    logging.disable(logging.NOTSET)


def test_the_corpus_is_installed() -> None:
    if not CORPUS and not REQUIRED:
        pytest.skip("pydicom-data is not installed")
    assert len(CORPUS) > 200


def row(name: str) -> dict[str, str]:
    """The row of the table for a file, by its name or by a pattern."""
    rows = [
        found
        for pattern, found in EXPECTED.items()
        if pattern == name or ("*" in pattern and fnmatch.fnmatchcase(name, pattern))
    ]
    assert len(rows) == 1, f"{len(rows)} rows of {TABLE.name} for {name}"
    return rows[0]


def outcome(data: bytes, name: str, spec: InputSpec) -> str:
    try:
        frames = opened(data, Path(name).name, spec).frames
        for frame in {0, 1, frames - 1} & set(range(frames)):
            decode(data, Path(name).name, spec, frame)
    except ImageError as error:
        return error.code
    return ANSWERED


@pytest.mark.parametrize("name", CORPUS)
def test_each_file_is_answered_or_refused_with_its_code(name: str) -> None:
    data, expected = CORPUS[name].read_bytes(), row(name)
    assert outcome(data, name, BUNDLES) == expected["outcome"]
    assert outcome(data, name, FILES_OWN) == expected.get("by its own window", expected["outcome"])


def test_the_table_has_no_row_without_a_file() -> None:
    assert not CORPUS or all(fnmatch.filter(CORPUS, pattern) for pattern in EXPECTED)


def answered() -> list[str]:
    return [name for name in CORPUS if row(name)["outcome"] == ANSWERED]


def whole(data: bytes) -> np.ndarray:
    """limiar's stored values of the first frames, int64 [frames, H, W] or [frames, H, W, 3]."""
    dicom = container.inspect(data)
    codes = np.stack([decoder.codes(dicom, frame) for frame in range(min(dicom.frames, FRAMES))]).astype(np.int64)
    return codes - ((codes >> dicom.stored - 1) << dicom.stored) if dicom.signed else codes


def few_rows(pixels: np.ndarray) -> np.ndarray:
    """Every row of a small picture, and some of a large one, so that fractions take no minutes."""
    return pixels[:: 1 + pixels.shape[0] * pixels.shape[1] // 300_000]


def by_second(name: str) -> np.ndarray:
    """The stored values of the first frames, as another project decodes them."""
    if missing := missing_tools():
        if REQUIRED:
            pytest.fail(f"not installed: {', '.join(missing)}")
        pytest.skip(f"not installed: {', '.join(missing)} (Debian's dcmtk and libgdcm-tools)")
    return stored_values(CORPUS[name])[:FRAMES]


def header(name: str) -> Any:
    return pydicom.dcmread(CORPUS[name])


def has_window(name: str) -> bool:
    """Whether it is one grey picture with a window of its own."""
    head = header(name)
    return (
        head.PhotometricInterpretation.startswith("MONOCHROME")
        and "WindowCenter" in head
        and int(head.get("NumberOfFrames") or 1) == 1
    )


def is_converted(name: str) -> bool:
    """Whether limiar's decoder gives RGB at once: stored values are then compared after the conversion."""
    return header(name).file_meta.TransferSyntaxUID == container.JPEG and header(name).SamplesPerPixel == 3


@pytest.mark.parametrize("name", [name for name in answered() if name != MANY_FRAMES])
def test_stored_values_and_levels_are_those_of_the_second_decoder_and_of_the_rule(name: str) -> None:
    data, head, values = CORPUS[name].read_bytes(), header(name), by_second(name)
    if not is_converted(name):
        assert np.array_equal(whole(data), values)
    for spec, window in ((BUNDLES, (WINDOW.centre, WINDOW.width)), (FILES_OWN, None)):
        if window is None and (values.size > 2_000_000 or row(name).get("by its own window", ANSWERED) != ANSWERED):
            continue
        for frame, stored in enumerate(map(few_rows, values)):
            found = few_rows(decode(data, "", spec, frame)[:])
            if head.PhotometricInterpretation.startswith("MONOCHROME"):
                assert np.array_equal(found, grey_levels(head, stored, window, frame))
            else:
                assert np.abs(found.astype(int) - rgb_levels(head, stored)).max() <= (
                    1 if "YBR" in head.PhotometricInterpretation else 0
                )


@pytest.mark.parametrize("name", [name for name in answered() if has_window(name)])
def test_levels_are_within_one_of_pydicoms(name: str) -> None:
    """pydicom's are floats: a half is rounded the other way, or 1e-13 beside it."""
    data, head = CORPUS[name].read_bytes(), header(name)
    stored = few_rows(whole(data)[0])
    values = modality_values(head, stored)
    theirs = apply_windowing(values, head)  # over the range of the stored values, after the rescale if there is one
    ends = (values.min() - 1e9, values.max() + 1e9)
    least, most = (float(apply_windowing(np.array([[end]]), head)[0, 0]) for end in ends)
    theirs = (theirs - least) / (most - least) * 255
    if head.PhotometricInterpretation == "MONOCHROME1":
        theirs = 255 - theirs
    ours = few_rows(decode(data, "", FILES_OWN)[:]).astype(np.float64)
    assert np.abs(ours - theirs)[~is_padding(head, stored)].max() <= 1


T, D = "pydicom/test_files", "pydicom-data"
TWINS = [  # files that show one picture; the first is not compressed
    [
        f"{T}/MR_small{kind}.dcm"
        for kind in ("", "_RLE", "_bigendian", "_expb", "_implicit", "_jp2klossless", "_jpeg_ls_lossless")
    ],
    [f"{D}/emri_small{kind}.dcm" for kind in ("", "_RLE", "_big_endian", "_jpeg_2k_lossless", "_jpeg_ls_lossless")],
    [f"{D}/693_UNCR.dcm", f"{D}/693_J2KR.dcm"],
    [f"{D}/MR2_UNCR.dcm", f"{D}/MR2_J2KR.dcm"],
    [f"{D}/RG1_UNCR.dcm", f"{D}/RG1_J2KR.dcm"],
    [f"{D}/RG3_UNCR.dcm", f"{D}/RG3_J2KR.dcm"],
    [f"{D}/US1_UNCR.dcm", f"{D}/US1_J2KR.dcm", f"{T}/examples_jpeg2k.dcm"],
    [f"{D}/OBXXXX1A.dcm", f"{D}/OBXXXX1A_expb.dcm", f"{D}/OBXXXX1A_rle.dcm"],
    [f"{D}/OBXXXX1A_2frame.dcm", f"{D}/OBXXXX1A_expb_2frame.dcm", f"{D}/OBXXXX1A_rle_2frame.dcm"],
    [f"{D}/SC_rgb.dcm", f"{D}/SC_rgb_expb.dcm", f"{T}/SC_rgb_rle.dcm", f"{T}/SC_rgb_jpeg_gdcm.dcm"],
    [f"{D}/SC_rgb_2frame.dcm", f"{D}/SC_rgb_expb_2frame.dcm", f"{T}/SC_rgb_rle_2frame.dcm"],
    [f"{D}/color-px.dcm", f"{D}/color-pl.dcm"],
]


@pytest.mark.parametrize("names", TWINS, ids=lambda names: Path(names[0]).stem)
def test_one_picture_in_several_transfer_syntaxes_has_the_same_pixels(names: list[str]) -> None:
    if not CORPUS:
        pytest.skip("pydicom-data is not installed")
    first, *others = (CORPUS[name].read_bytes() for name in names)
    for frame in range(opened(first, "", BUNDLES).frames):
        plain = decode(first, "", BUNDLES, frame)[:]
        assert all(np.array_equal(decode(other, "", BUNDLES, frame)[:], plain) for other in others)


@pytest.fixture
def _encoders() -> None:
    if missing := missing_packages():
        if REQUIRED:
            pytest.fail(f"not installed: {', '.join(missing)}")
        pytest.skip(f"not installed: {', '.join(missing)} (Debian's packages)")


@pytest.mark.usefixtures("_encoders")
@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, one in ENCODERS.items() for kind in one.kinds])
def test_stored_values_of_every_transfer_syntax_are_what_another_projects_encoder_was_given(
    name: str, kind: str, tmp_path: Path
) -> None:
    data = encoded(name, kind)
    (tmp_path / "file").write_bytes(data)
    assert container.inspect(data).syntax == ENCODERS[name].syntax
    expected = pictures()[kind] if ENCODERS[name].lossless else stored_values(tmp_path / "file")[0]
    if name == "jpeg" and kind == "colour":  # whose decoder gives RGB
        expected = rgb_levels(pydicom.dcmread(tmp_path / "file"), expected)
        assert np.abs(whole(data)[0] - expected).max() <= 1
    else:
        assert np.array_equal(whole(data)[0], expected)


@pytest.mark.usefixtures("_encoders")
@pytest.mark.parametrize("kind", ["grey8", "grey12", "grey16", "colour"])
def test_high_throughput_jpeg_2000_of_openjph_decodes_to_what_it_was_given(kind: str) -> None:
    assert np.array_equal(whole(high_throughput(kind))[0], pictures()[kind])


@pytest.mark.usefixtures("_encoders")
@pytest.mark.parametrize("command", [["dcmcjpls"], ["dcmcjpeg", "+e1"], ["dcmcrle"]], ids=lambda command: command[0])
def test_frames_in_several_fragments_are_told_apart_by_the_offset_table(command: list[str], tmp_path: Path) -> None:
    picture = pictures()["grey12"]
    frames = np.stack([picture, picture[::-1], picture[:, ::-1]])
    source, target = tmp_path / "in.dcm", tmp_path / "out.dcm"
    source.write_bytes(dicom_file(frames, bits=12))
    subprocess.run([*command, "+fs", "1", source, target], check=True)
    assert np.array_equal(whole(target.read_bytes()), frames)
    subprocess.run([*command, "+fs", "1", "-ot", source, target], check=True)
    assert outcome(target.read_bytes(), "", BUNDLES) == "E-IMAGE-BROKEN"  # without a table nothing says where a frame begins


def test_every_transfer_syntax_that_is_read_is_in_these_tests() -> None:
    tried = {one.syntax for one in ENCODERS.values()} | {HTJ2K}
    assert set(container._READ) - tried == {
        f"1.2.840.10008.1.2.4.{end}" for end in (91, 202, 203)
    }  # the same decoder, lossless only


ASSESSED = {"E-IMAGE-UNIFORM", "E-IMAGE-SATURATED", "E-IMAGE-THIN"}  # of pictures that decode
PERSONAL = ("PatientName", "PatientID", "ReferringPhysicianName", "InstitutionName", "StudyDescription", "SeriesDescription")
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def test_scan_gives_every_file_its_lines_and_quotes_no_header(tmp_path: Path) -> None:
    if not CORPUS:
        pytest.skip("pydicom-data is not installed")
    bundle = dicom_bundle(tmp_path / "bundle", WINDOW)
    command = [sys.executable, "-P", "-m", "limiar", "scan", bundle, "-0", "--jsonl", "-", "--db", tmp_path / "results.db"]
    done = subprocess.run(command, input=b"\0".join(map(os.fsencode, CORPUS.values())), capture_output=True)
    assert done.returncode == 4
    codes: dict[str, set[str]] = {}
    for line in map(json.loads, done.stdout.splitlines()):
        codes.setdefault(line.pop("path"), set()).add(line.get("code", ANSWERED))
    for name, path in CORPUS.items():
        expected = row(name)["outcome"]
        assert expected in codes[str(path)] or (expected == ANSWERED and codes[str(path)] <= ASSESSED), name

    kept = done.stdout + done.stderr + b"".join(path.read_bytes() for path in tmp_path.glob("results.db*"))
    for path in sorted(CORPUS.values(), key=lambda path: -len(str(path))):
        kept = kept.replace(os.fsencode(path), b"")  # names of files do hold such values
    found = personal()
    assert len(found) > 200
    assert [value for value in found if value.encode() in kept] == []


def personal() -> set[str]:
    """What the headers say of people and studies, if it is long enough to be found nowhere else."""
    found = set()
    for path in CORPUS.values():
        with contextlib.suppress(pydicom.errors.InvalidDicomError):
            head = pydicom.dcmread(path, stop_before_pixels=True)
            found |= {str(head.get(keyword, "")).strip() for keyword in PERSONAL + UIDS}
    return {value for value in found if len(value) > 5}
