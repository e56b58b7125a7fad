"""Answers as DICOM: what a Structured Report and a Secondary Capture hold, and that they are valid."""

import hashlib
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from dicom_files import dicom_file
from limiar.edge_app.answer import Peak, SlicePlace
from limiar.edge_app.bundle.manifest import DicomSpec, TileSpec, Window
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.output.lines import json_lines
from planted import planted_file, traces

pydicom = pytest.importorskip("pydicom", reason="needs limiar[dicom-export]")
highdicom = pytest.importorskip("highdicom", reason="needs limiar[dicom-export]")

from limiar.convert.dicom_export.results import Answer, Finding, Picture, Tiles  # noqa: E402 it is beside what needs them

PIXELS = np.arange(48 * 64, dtype=np.int16).reshape(48, 64)
PATIENT = {"PatientName": "Ölafsson^Jön", "PatientID": "P-1", "SpecificCharacterSet": "ISO_IR 100", "AccessionNumber": "A-9"}
PEAKS = (Peak(x=10.0, y=20.0, score=0.987654321, decision="pos"), Peak(x=40.25, y=4.0, score=0.6, decision="refer"))


@pytest.fixture(scope="module")
def bundle(project: Path) -> Bundle:
    return open_bundle(project / "models" / "lung-nodule")


def slice_file(instance: int = 1, **attributes: Any) -> bytes:
    return dicom_file(PIXELS, instance=instance, position=(0.0, 0.0, 2.5 * instance), **{**PATIENT, **attributes})


def a_line(by: Bundle, data: bytes, **fields: Any) -> Answer:
    """The line of a scan for a DICOM file."""
    place = SlicePlace(study="0" * 32, series="1" * 32, instance="2" * 32, across=(1.0, 0.0, 0.0), down=(0.0, 1.0, 0.0))
    given: dict[str, Any] = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "decision": "pos",
        "probabilities": {"neg": 0.1, "pos": 0.9},
        "bundle": by.sha256,
        "file": "tflite_int8",
        "runtime": "litert 2.3.0",
        "app": "limiar 0.1.0",
        "tiles": Tiles("pos"),
        "dicom": place,
    }
    return Answer(**{**given, **fields})


@pytest.fixture
def study(tmp_path: Path) -> list[bytes]:
    """Two slices of a series, in a folder."""
    (tmp_path / "study").mkdir()
    slices = [slice_file(instance) for instance in (1, 2)]
    for number, data in enumerate(slices):
        (tmp_path / "study" / f"IM{number}").write_bytes(data)
    return slices


def export(tmp_path: Path, bundle: Bundle, lines: list[Answer], **options: Any) -> Any:
    from limiar.convert.dicom_export.export import export_dicom

    (tmp_path / "results.jsonl").write_bytes(json_lines(lines))
    return export_dicom(bundle.path, tmp_path / "results.jsonl", tmp_path / "study", out=tmp_path / "out", **options)


def found_in(report: Any) -> Any:
    return report.content  # a MeasurementReport


def test_a_report_has_each_finding_where_it_is_in_its_picture(tmp_path: Path, bundle: Bundle, study: list[bytes]) -> None:
    done = export(tmp_path, bundle, [a_line(bundle, study[0], peaks=PEAKS), a_line(bundle, study[1], peaks=())])
    assert (done.pictures, done.findings, [Path(name).name for name in done.files]) == (2, 2, ["report-0001.dcm"])
    report = highdicom.sr.srread(done.files[0])
    groups = found_in(report).get_planar_roi_measurement_groups()
    # SCOORD: 0\0 is the corner of the first pixel; a peak counts from its middle.
    assert [group.roi.value.tolist() for group in groups] == [[[10.5, 20.5]], [[40.75, 4.5]]]
    assert [group.get_measurements()[0].value for group in groups] == [0.987654, 0.6]
    pictures = {group.roi.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID for group in groups}
    assert pictures == {pydicom.dcmread(tmp_path / "study" / "IM0").SOPInstanceUID}


def test_a_report_is_of_the_patient_and_study_of_its_source_in_any_script(
    tmp_path: Path, bundle: Bundle, study: list[bytes]
) -> None:
    report = pydicom.dcmread(export(tmp_path, bundle, [a_line(bundle, study[0], peaks=PEAKS)]).files[0])
    source = pydicom.dcmread(tmp_path / "study" / "IM0")
    for name in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber"):
        assert report[name].value == source[name].value, name
    assert (report.SpecificCharacterSet, str(report.PatientName)) == ("ISO_IR 192", "Ölafsson^Jön")
    assert report.SeriesInstanceUID != source.SeriesInstanceUID


def texts(item: Any) -> list[str]:
    """All that a report says in words and numbers."""
    found = [str(element.value) for element in item.iterall() if element.VR in ("UT", "LO", "DS")]
    return [text for text in found if text]


def test_a_report_says_what_made_it_what_was_not_answered_and_what_it_is_not_for(
    tmp_path: Path, bundle: Bundle, study: list[bytes]
) -> None:
    refused = a_line(bundle, study[1], decision="refused", code="E-IMAGE-TRUNCATED", dicom=None)
    done = export(tmp_path, bundle, [a_line(bundle, study[0], peaks=()), refused])
    assert (done.pictures, done.findings, done.refused) == (1, 0, 1)
    said = texts(pydicom.dcmread(done.files[0]))
    assert {bundle.manifest.name, bundle.manifest.version, f"manifest sha256 {bundle.sha256}", "file tflite_int8"} <= set(said)
    assert "Research and education, not for diagnosis" in said
    summary = found_in(highdicom.sr.srread(done.files[0])).get_image_measurement_groups()[0]
    counts = {one.name.meaning: one.value for one in summary.get_measurements()}
    assert counts == {"Pictures answered": 1, "Pictures refused in the same run, of any series": 1, "Findings": 0} | {
        "Findings listed here, the likeliest ones": 0
    }


def test_a_picture_that_was_answered_whole_has_its_probabilities(tmp_path: Path, bundle: Bundle, study: list[bytes]) -> None:
    report = highdicom.sr.srread(export(tmp_path, bundle, [a_line(bundle, study[0])]).files[0])
    _, picture = found_in(report).get_image_measurement_groups()
    assert {one.name.meaning: one.value for one in picture.get_measurements()} == {
        "Probability of neg": 0.1,
        "Probability of pos": 0.9,
    }
    assert picture.get_qualitative_evaluations()[0].value.meaning == "pos"


def test_the_likeliest_findings_are_listed_and_all_are_counted(
    tmp_path: Path, bundle: Bundle, study: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limiar.convert.dicom_export.report._PLACES", 2)
    weak = tuple(Peak(x=float(k), y=1.0, score=0.5, decision="pos") for k in range(3))
    lines = [a_line(bundle, study[0], peaks=weak), a_line(bundle, study[1], peaks=PEAKS)]
    found = found_in(highdicom.sr.srread(export(tmp_path, bundle, lines).files[0]))
    assert [group.get_measurements()[0].value for group in found.get_planar_roi_measurement_groups()] == [0.987654, 0.6]
    summary = found.get_image_measurement_groups()[0]
    assert [one.value for one in summary.get_measurements() if one.name.meaning.startswith("Findings")] == [5, 2]


def test_each_series_gets_a_report(tmp_path: Path, bundle: Bundle, study: list[bytes]) -> None:
    other = slice_file(1, series=7, SOPInstanceUID="1.2.3")
    (tmp_path / "study" / "other").write_bytes(other)
    done = export(tmp_path, bundle, [a_line(bundle, data, peaks=PEAKS) for data in (*study, other)])
    assert len(done.files) == 2


@pytest.fixture
def maps(tmp_path: Path, study: list[bytes]) -> Path:
    (tmp_path / "maps").mkdir()
    for number, data in enumerate(study):
        picture = Image.fromarray(np.full((48, 64, 3), 40 * (number + 1), np.uint8))
        picture.save(tmp_path / "maps" / f"IM{number}-{hashlib.sha256(data).hexdigest()[:8]}.png")
    return tmp_path / "maps"


def test_a_capture_has_the_map_and_names_its_source(tmp_path: Path, bundle: Bundle, study: list[bytes], maps: Path) -> None:
    done = export(tmp_path, bundle, [a_line(bundle, data, peaks=PEAKS) for data in study], maps=maps)
    first, second = (pydicom.dcmread(name) for name in done.files)
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    source = pydicom.dcmread(tmp_path / "study" / "IM1")
    assert second.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert (second.PatientID, second.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
    assert (second.pixel_array[:48] == 80).all(axis=2).sum() == 48 * 64  # the map, whole and unchanged
    assert second.pixel_array[48:].any()  # the notice below it
    assert second.PatientOrientation == ["L", "P"]


def test_a_capture_without_its_map_is_refused(tmp_path: Path, bundle: Bundle, study: list[bytes], maps: Path) -> None:
    next(maps.glob("IM1*")).unlink()
    with pytest.raises(LimiarError, match="E-EXPORT-MAP"):
        export(tmp_path, bundle, [a_line(bundle, data, peaks=PEAKS) for data in study], maps=maps)
    assert not (tmp_path / "out").exists()  # not even the first


@pytest.mark.parametrize("kind", ["sr", "capture"])
def test_the_standard_s_validators_find_no_error(
    tmp_path: Path, bundle: Bundle, study: list[bytes], maps: Path, kind: str
) -> None:
    if not shutil.which("dciodvfy"):
        given_up = pytest.fail if os.environ.get("LIMIAR_REQUIRE_ROOT_TESTS") == "1" else pytest.skip
        given_up("needs dciodvfy: apt install dicom3tools")
    lines = [a_line(bundle, study[0], peaks=PEAKS), a_line(bundle, study[1])]
    for name in export(tmp_path, bundle, lines, maps=maps if kind == "capture" else None).files:
        found = subprocess.run(["dciodvfy", name], capture_output=True, text=True)
        assert "Error" not in found.stdout + found.stderr
        broken = pydicom.dcmread(name)
        del broken.PatientName  # the control: it finds what is wrong
        broken.save_as(tmp_path / "broken.dcm")
        found = subprocess.run(["dciodvfy", str(tmp_path / "broken.dcm")], capture_output=True, text=True)
        assert "Error" in found.stdout + found.stderr


@pytest.mark.parametrize("missing", ["PatientName", "PatientID", "StudyDate", "AccessionNumber"])
def test_a_source_without_what_may_be_empty_is_exported(
    tmp_path: Path, bundle: Bundle, study: list[bytes], missing: str
) -> None:
    source = pydicom.dcmread(tmp_path / "study" / "IM0")
    if missing in source:
        del source[missing]
    source.save_as(tmp_path / "study" / "IM0")
    data = (tmp_path / "study" / "IM0").read_bytes()
    assert not pydicom.dcmread(export(tmp_path, bundle, [a_line(bundle, data, peaks=PEAKS)]).files[0])[missing].value


def test_a_source_without_a_study_is_refused(tmp_path: Path, bundle: Bundle, study: list[bytes]) -> None:
    source = pydicom.dcmread(tmp_path / "study" / "IM0")
    source.StudyInstanceUID = ""
    source.save_as(tmp_path / "study" / "IM0")
    with pytest.raises(LimiarError, match=r"E-EXPORT-SOURCE: .*IM0 has no StudyInstanceUID"):
        export(tmp_path, bundle, [a_line(bundle, (tmp_path / "study" / "IM0").read_bytes(), peaks=PEAKS)])


def test_no_warning_of_a_library_tells_a_patient_s_name(tmp_path: Path, bundle: Bundle, study: list[bytes]) -> None:
    data = slice_file(PatientName="Zilpahxq", PatientBirthDate="the 3rd of Zilpahxq")  # no comma, no date: both libraries warn
    (tmp_path / "study" / "IM0").write_bytes(data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        export(tmp_path, bundle, [a_line(bundle, data, peaks=PEAKS)])
    assert not [str(one.message) for one in caught if "Zilpahxq" in str(one.message)]


def test_answers_of_another_bundle_are_refused(tmp_path: Path, bundle: Bundle, study: list[bytes]) -> None:
    with pytest.raises(LimiarError, match="E-EXPORT-BUNDLE"):
        export(tmp_path, bundle, [a_line(bundle, study[0], bundle="0" * 64)])


def test_a_source_that_has_changed_or_is_missing_is_refused(tmp_path: Path, bundle: Bundle, study: list[bytes]) -> None:
    (tmp_path / "study" / "IM1").write_bytes(study[1] + b"\0")
    with pytest.raises(LimiarError, match="E-EXPORT-SOURCE: 1 of 2"):
        export(tmp_path, bundle, [a_line(bundle, data) for data in study])


@pytest.mark.parametrize("text", [b"{", b"[]\n", b'{"decision": 1}\n'])
def test_what_is_not_a_scan_s_lines_is_refused(tmp_path: Path, bundle: Bundle, study: list[bytes], text: bytes) -> None:
    from limiar.convert.dicom_export.export import export_dicom

    (tmp_path / "results.jsonl").write_bytes(text)
    with pytest.raises(LimiarError, match="E-EXPORT-RESULTS"):
        export_dicom(bundle.path, tmp_path / "results.jsonl", tmp_path / "study", out=tmp_path / "out")


def test_a_scan_without_dicom_has_nothing_to_export(tmp_path: Path, bundle: Bundle, study: list[bytes]) -> None:
    with pytest.raises(LimiarError, match="E-EXPORT-RESULTS"):
        export(tmp_path, bundle, [a_line(bundle, study[0], dicom=None)])


def test_nothing_is_written_over(tmp_path: Path, bundle: Bundle, study: list[bytes]) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(LimiarError, match="E-OUTPUT-EXISTS"):
        export(tmp_path, bundle, [a_line(bundle, study[0])])


def run(*arguments: object) -> Any:
    from limiar.convert.commands.export_dicom import export_dicom

    return CliRunner().invoke(export_dicom, [str(argument) for argument in arguments], standalone_mode=False)


def test_the_command_says_what_it_wrote_and_what_it_left_out(tmp_path: Path, bundle: Bundle, study: list[bytes]) -> None:
    lines = [a_line(bundle, study[0], peaks=PEAKS), a_line(bundle, study[1], dicom=None)]
    (tmp_path / "results.jsonl").write_bytes(json_lines(lines))
    given = (bundle.path, tmp_path / "results.jsonl", tmp_path / "study")
    done = run(*given, "--out", tmp_path / "out")
    assert done.return_value == 0
    assert done.stdout == f"1 file in {tmp_path}/out: 1 picture, 2 findings\n"
    assert done.stderr == "left out: 1 picture, not DICOM\n"
    as_json = run(*given, "--out", tmp_path / "again", "--json")
    assert msgspec.json.decode(as_json.stdout)["findings"] == 2


def test_a_capture_needs_maps_and_a_report_takes_none(tmp_path: Path, bundle: Bundle) -> None:
    given = (bundle.path, tmp_path / "results.jsonl", tmp_path, "--out", tmp_path / "out")
    for options in (("--as", "capture"), ("--maps", tmp_path)):
        assert "go together" in str(run(*given, *options).exception)


def a_series(by: Bundle, slices: list[bytes], **fields: Any) -> Answer:
    """The line of a series."""
    pictures = tuple(Picture(hashlib.sha256(data).hexdigest()) for data in slices)
    finding = Finding(number=1, place_mm=(1.5, -2.5, 30.0), slice=2, x=7.0, y=9.0, score=0.9, decision="pos")
    return a_line(
        by, b"", sha256=None, dicom=None, slices=pictures, **{"findings": (finding,), "sought": "pos", "tiles": None, **fields}
    )


def test_a_finding_of_a_series_is_a_point_in_the_patient(tmp_path: Path, bundle: Bundle) -> None:
    slices = [slice_file(instance, FrameOfReferenceUID="1.2.826.5") for instance in (1, 2)]
    (tmp_path / "study").mkdir()
    for number, data in enumerate(slices):
        (tmp_path / "study" / str(number)).write_bytes(data)
    done = export(tmp_path, bundle, [a_series(bundle, slices)])
    assert (done.pictures, done.findings) == (2, 1)
    report = highdicom.sr.srread(done.files[0])
    group = found_in(report).get_planar_roi_measurement_groups()[0]
    assert (group.roi.value.tolist(), group.roi.frame_of_reference_uid) == ([[1.5, -2.5, 30.0]], "1.2.826.5")
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert len(evidence) == 2  # both slices, though nothing is in the first


def test_without_a_frame_of_reference_it_is_a_point_in_its_slice(tmp_path: Path, bundle: Bundle, study: list[bytes]) -> None:
    report = highdicom.sr.srread(export(tmp_path, bundle, [a_series(bundle, study)]).files[0])
    group = found_in(report).get_planar_roi_measurement_groups()[0]
    assert group.roi.value.tolist() == [[7.5, 9.5]]
    second = pydicom.dcmread(tmp_path / "study" / "IM1").SOPInstanceUID
    assert group.roi.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == second


@pytest.fixture(scope="module")
def dicom_bundle(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference bundle, to which two rules are added: how DICOM is read, and into which tiles it is cut."""
    manifest = msgspec.structs.replace(
        bundle.manifest,
        input=msgspec.structs.replace(bundle.manifest.input, dicom=DicomSpec(rule="dicom-v1", window=Window(-600, 1500))),
        tiles=TileSpec(size=40, stride=8, sought="pos"),
    )
    path = tmp_path_factory.mktemp("bundles") / "dicom"
    write_bundle(path, manifest, {file.path: bundle.read(file.path) for file in manifest.files})
    return path


def nodule(seed: int) -> NDArray[np.int16]:
    """HU of a slice with a ball of 7 pixels around x = 40, y = 30, in air with noise."""
    y, x = np.mgrid[:72, :80]
    ball = 880 / (1 + np.exp(1.5 * (np.hypot(x - 40, y - 30) - 7)))
    return (np.random.default_rng(seed).normal(-850, 60, ball.shape) + ball).astype(np.int16)


def limiar(state: Path, *words: object) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-P", "-m", "limiar", *map(str, words)]
    return subprocess.run(command, capture_output=True, env={**os.environ, "LIMIAR_STATE": str(state)}, timeout=300)


def test_what_scan_and_series_say_is_exported_and_only_the_files_name_the_patient(tmp_path: Path, dicom_bundle: Path) -> None:
    study, space = tmp_path / "study", {"FrameOfReferenceUID": "1.2.826.5", "spacing": (0.7, 0.7)}
    study.mkdir()
    for number in (1, 2, 3):
        data = planted_file(nodule(number), instance=number, position=(0.0, 0.0, 2.0 * number), **space)
        (study / f"{number}.dcm").write_bytes(data)
    scanned = limiar(tmp_path, "scan", dicom_bundle, study, "--jsonl", tmp_path / "scan.jsonl", "--maps", tmp_path / "maps")
    studied = limiar(tmp_path, "series", dicom_bundle, study, "--jsonl", tmp_path / "series.jsonl")
    assert (scanned.returncode, studied.returncode) == (0, 0), scanned.stderr + studied.stderr
    whole = msgspec.json.decode((tmp_path / "series.jsonl").read_bytes())
    assert whole["findings"]
    ways = {
        "series": ("series.jsonl", ()),
        "capture": ("scan.jsonl", ("--as", "capture", "--maps", tmp_path / "maps")),
    }
    counts = {}
    for name, (results, options) in ways.items():
        out = tmp_path / "out" / name
        done = limiar(tmp_path, "export-dicom", dicom_bundle, tmp_path / results, study, "--out", out, *options)
        assert done.returncode == 0, done.stderr
        assert traces(done.stdout, done.stderr) == []
        assert traces(out)  # the control: what was planted is copied, and found
        counts[name] = len(list(out.iterdir()))
    assert counts == {"series": 1, "capture": 3}
    report = highdicom.sr.srread(tmp_path / "out" / "series" / "report-0001.dcm")
    groups = found_in(report).get_planar_roi_measurement_groups()
    places = np.array([finding["place_mm"] for finding in whole["findings"]])
    np.testing.assert_allclose([group.roi.value[0] for group in groups], places, rtol=1e-6)  # SCOORD3D has floats of 32 bits
