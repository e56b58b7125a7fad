"""`limiar evaluate` on DICOM files: groups by study, frames, marks in millimetres."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

import limiar as api
from dicom_files import dicom_file
from limiar.edge_app.bundle.manifest import DicomSpec, Window, manifest_json, parse_manifest
from limiar.edge_app.errors import DataError

TILES = (40, 8)


@pytest.fixture(scope="session")
def bundle(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny one with a rule for DICOM: 0 is black, 255 white."""
    path = Path(shutil.copytree(tiny_path, tmp_path_factory.mktemp("dicom") / "tiny"))
    manifest = parse_manifest((path / "manifest.json").read_bytes(), "tiny")
    spec = msgspec.structs.replace(manifest.input, dicom=DicomSpec(window=Window(128, 256)))
    (path / "manifest.json").write_bytes(manifest_json(msgspec.structs.replace(manifest, input=spec)))
    return path


@pytest.fixture(autouse=True)
def _state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIMIAR_STATE", str(tmp_path / "state"))


def pixels(*dark: tuple[int, int], seed: int = 0, shape: tuple[int, int] = (120, 160)) -> np.ndarray:
    """Noise with dark squares, which the model takes for pos; dark: x, y of their middles."""
    found = np.random.default_rng(seed).integers(0, 256, shape).astype(np.int16)
    for x, y in dark:
        found[y - 20 : y + 20, x - 20 : x + 20] //= 2
    return found


def test_images_of_one_study_are_a_group(bundle, tmp_path):
    for label in ("neg", "pos"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for k in range(6):
            data = dicom_file(
                pixels(seed=k + 6 * (label == "pos"), shape=(50, 50)), study=k // 3 + 2 * (label == "pos"), instance=k
            )
            (tmp_path / "data" / label / f"{k}.dcm").write_bytes(data)
    found = api.evaluate(bundle, tmp_path / "data")
    assert (found.images, found.groups) == (12, 4)


def test_a_labelled_file_of_several_frames_is_refused(bundle, tmp_path):
    for label in ("neg", "pos"):
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / "one.dcm").write_bytes(dicom_file(pixels(seed=1 + (label == "pos"))))
    (tmp_path / "data" / "pos" / "many.dcm").write_bytes(dicom_file(np.stack([pixels(seed=3), pixels(seed=4)])))
    found = api.evaluate(bundle, tmp_path / "data")
    assert [(one.code, one.files) for one in found.refused] == [("E-IMAGE-FRAMES", ("pos/many.dcm",))]


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """One slice with a dark place, and a file of two frames, of which the second has one. Pixels are 0.5 x 0.25 mm."""
    folder = tmp_path / "slices"
    folder.mkdir()
    (folder / "one.dcm").write_bytes(dicom_file(pixels((40, 40)), spacing=(0.5, 0.25)))
    (folder / "many.dcm").write_bytes(dicom_file(np.stack([pixels(seed=1), pixels((120, 80), seed=2)]), spacing=(0.5, 0.25)))
    return folder


def test_each_frame_is_a_picture_with_marks_of_its_own(bundle, slices, tmp_path):
    marks = tmp_path / "marks.csv"
    marks.write_text("file,frame,x,y\none.dcm,,40,40\nmany.dcm,2,120,80\nmany.dcm,1,50,50\n")
    found = api.evaluate(bundle, slices, tiles=TILES, marks=marks)
    assert (found.images, found.marks.pictures, found.marks.marks) == (3, 3, 3)
    assert [(one.file, one.frame) for one in found.marks.missed] == [("many.dcm", 1)]
    assert found.marks.reported.false_positives.value == 0


def test_a_mark_in_a_file_of_several_frames_without_its_frame_is_refused(bundle, slices, tmp_path):
    marks = tmp_path / "marks.csv"
    marks.write_text("file,x,y\nmany.dcm,120,80\n")
    with pytest.raises(DataError, match=r"E-EVALUATE-MARKS: many\.dcm has several frames"):
        api.evaluate(bundle, slices, tiles=TILES, marks=marks)


@pytest.mark.parametrize(("x_mm", "share"), [(10.0, 1.0), (20.0, 0.0)])  # 40 px are 10 mm across: 20 mm would be 80 px
def test_marks_may_be_in_millimetres_of_a_picture_whose_pixels_are_not_square(bundle, slices, tmp_path, x_mm, share):
    marks = tmp_path / "marks.csv"
    marks.write_text(f"file,x_mm,y_mm,radius_mm\none.dcm,{x_mm},20,3\n")
    (slices / "many.dcm").unlink()
    assert api.evaluate(bundle, slices, tiles=TILES, marks=marks).marks.reported.sensitivity.value == share


def test_a_file_that_was_refused_has_the_missed_marks_of_all_its_frames(bundle, slices, tmp_path):
    whole = (slices / "many.dcm").read_bytes()
    (slices / "many.dcm").write_bytes(whole[:-1000])
    marks = tmp_path / "marks.csv"
    marks.write_text("file,frame,x,y\none.dcm,,40,40\nmany.dcm,2,120,80\nmany.dcm,1,50,50\n")
    found = api.evaluate(bundle, slices, tiles=TILES, marks=marks)
    assert found.refused_images == 1
    assert found.marks.reported.sensitivity.value == pytest.approx(1 / 3)
