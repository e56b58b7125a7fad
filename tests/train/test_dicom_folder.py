"""A folder of DICOM files is trained on, checked, converted, scanned and explained like any other, with no code changed."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest

from limiar.edge_app.errors import DataError
from limiar.train.check.check_data import check_data
from limiar.train.config import input_of
from limiar.train.data.phantom_dicom import phantom_files
from limiar.train.data.reviewed import Parent, load_reviewed
from limiar.train.dataset.image_folder import load
from limiar.train.dataset.image_store import InMemory, OnDisk
from limiar.train.dataset.splits import Shares
from limiar.train.record.run_folder import Run, TrainingData, splits_csv

WINDOW = (-300, 1400)
SPEC = input_of((40, 40), 1, dicom_window=WINDOW)
SHARES = Shares(seed=0, minimum=1)


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    """192 phantoms as DICOM, of 32 studies."""
    folder = tmp_path_factory.mktemp("dicom") / "slices"
    folder.mkdir()
    for name, data in phantom_files(192, seed=3):
        (folder / name).write_bytes(data)
    return folder


def read(folder, table=None, spec=SPEC):
    return load(folder, table, spec, SHARES, lambda done, total: None)


def edited(folder: Path, to: Path, edit) -> Path:
    """A copy of the folder in which edit(number, file) has changed each file."""
    to.mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        file = pydicom.dcmread(path)
        edit(number, file)
        file.save_as(to / path.name)
    return to


def refused(folder, table=None, spec=SPEC):
    with pytest.raises(DataError) as error:
        read(folder, table, spec)
    return error.value


def test_it_is_refused_without_a_window_and_the_cure_is_said(slices):
    error = refused(slices, spec=input_of((40, 40), 1))
    assert error.code == "E-DATA-IMAGE"
    assert "E-IMAGE-DICOM" in error.message
    assert "--dicom-window" in error.message


def test_its_levels_are_those_of_the_same_patches_as_png(slices, phantom_folder):
    png, _ = read(phantom_folder, spec=input_of((40, 40), 1))
    dicom, _ = read(slices)
    of_png = {Path(row.file).stem: k for k, row in enumerate(png.rows)}
    same = [(k, of_png[Path(row.file).stem]) for k, row in enumerate(dicom.rows) if Path(row.file).stem in of_png]
    assert len(same) == 160
    ours, theirs = np.array(same).T
    assert np.abs(dicom.images.take(ours).astype(int) - png.images.take(theirs)).max() <= 1


def test_a_study_is_in_one_split_and_only_its_hash_is_written_down(slices):
    data, notes = read(slices)
    studies = {}
    for row in data.rows:
        studies.setdefault(pydicom.dcmread(slices / row.file).StudyInstanceUID, []).append(row)
    assert len(studies) == 32
    for uid, rows in studies.items():
        assert {row.group for row in rows} == {hashlib.sha256(b"limiar-uid-v1\0" + uid.encode()).hexdigest()[:32]}
        assert len({row.part for row in rows}) == 1
    assert any("192 DICOM images without a group, of 32 studies" in note for note in notes)


def test_images_that_an_earlier_run_left_on_disk_are_in_the_same_groups(slices, tmp_path):
    def keep(count, spec):
        return OnDisk(tmp_path, count, spec)

    first, again = (load(slices, None, SPEC, SHARES, lambda done, total: None, keep)[0] for _ in range(2))
    assert first.rows == again.rows == read(slices)[0].rows


def test_the_control_whose_files_name_a_study_each_is_not_grouped(slices, tmp_path):
    def alone(number, file):
        file.StudyInstanceUID, file.PatientID = f"2.25.{number + 1}", ""

    data, _ = read(edited(slices, tmp_path / "alone", alone))
    assert len({row.group for row in data.rows}) == 192


def test_studies_of_one_patient_stay_together(slices, tmp_path):
    def of_eight(number, file):
        file.PatientID = str(number // 6 % 8)

    data, _ = read(edited(slices, tmp_path / "eight", of_eight))
    assert len({row.group for row in data.rows}) == 8
    for number in range(8):
        assert len({row.part for k, row in enumerate(data.rows) if k // 6 % 8 == number}) == 1


def test_a_given_split_that_divides_a_study_is_refused_and_groups_of_one_s_own_are_taken(slices, tmp_path):
    names = sorted(path.name for path in slices.iterdir())
    lines = [[name, name[-7:-4], ("train", "train", "val", "test")[k // 2 % 4]] for k, name in enumerate(names)]

    def table(columns, rows):
        with (tmp_path / "t.csv").open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
        return tmp_path / "t.csv"

    error = refused(slices, table(["file", "label", "split"], lines))
    assert error.code == "E-DATA-GROUP"
    assert "of one DICOM study or patient" in error.message
    data, _ = read(slices, table(["file", "label", "split", "group"], [[*line, line[0]] for line in lines]))
    assert [row.group for row in data.rows] == names


def test_images_of_one_study_alone_cannot_be_divided_and_the_message_says_why(slices, tmp_path):
    def one(number, file):
        file.StudyInstanceUID, file.PatientID = "2.25.1", "1"

    error = refused(edited(slices, tmp_path / "one", one))
    assert error.code == "E-DATA-FEW"
    assert "DICOM headers put the images into 1 group" in error.message


def test_check_names_windows_and_spacings_that_differ(slices, tmp_path):
    def mixed(number, file):
        if number % 3 == 0:
            file.WindowCenter, file.WindowWidth, file.PixelSpacing = "-600", "1500", ["0.5", "0.5"]

    folder = edited(slices, tmp_path / "mixed", mixed)
    kinds = {finding.kind: finding for finding in check_data(folder, dicom_window="file", labels=False).findings}
    assert [case.text for case in kinds["dicom-window-mixed"].cases] == [
        "window -300,1400: 128 images",
        "window -600,1500: 64 images",
    ]
    assert (kinds["dicom-window-mixed"].severity, kinds["dicom-spacing-mixed"].severity) == ("warning", "note")
    assert "0.5 to 0.7 mm" in kinds["dicom-spacing-mixed"].text
    own = check_data(folder, dicom_window=WINDOW, labels=False)
    assert "dicom-window-mixed" not in {finding.kind for finding in own.findings}
    assert "DICOM: 192 images, pixel spacing 0.5 to 0.7 mm, 2 windows in the files" in own.notes


def test_check_finds_nothing_in_the_phantoms(slices):
    report = check_data(slices, dicom_window=WINDOW)
    assert report.findings == ()
    assert "DICOM: 192 images, pixel spacing 0.7 mm, 1 window in the files" in report.notes


def test_a_file_of_several_frames_is_refused_by_code(slices, tmp_path):
    def doubled(number, file):
        if number == 7:
            file.NumberOfFrames, file.PixelData = 2, file.PixelData * 2

    error = refused(edited(slices, tmp_path / "frames", doubled))
    assert error.code == "E-DATA-IMAGE"
    assert error.message.startswith("1 of 192 images cannot be used: phantom_000007_neg.dcm (E-IMAGE-FRAMES")


def test_a_reviewed_image_of_a_study_that_is_held_for_the_test_is_left_out(slices, tmp_path):
    data, _ = read(slices)
    splits = tmp_path / "run" / "splits.csv"
    parent = Parent(splits.parent, run_of(splits, data.rows), tmp_path / "reviewed.csv")
    held = next(row for row in data.rows if row.part == "test")
    new = {"held": pydicom.dcmread(slices / held.file), "new": pydicom.dcmread(slices / held.file)}
    new["new"].StudyInstanceUID, new["new"].PatientID = "2.25.99", "someone else"
    for number, (name, file) in enumerate(new.items(), start=1):
        file.PixelData = np.roll(file.pixel_array, 5 * number, axis=1).tobytes()
        file.save_as(tmp_path / f"{name}.dcm")
    parent.reviewed.write_text("file,label\nheld.dcm,pos\nnew.dcm,pos\n")
    _, lineage, notes = load_reviewed(slices, parent, lambda done, total: None, InMemory)
    assert (lineage.added, lineage.left_out) == (1, 1)
    assert any("1 left out: of a group in val or test" in note for note in notes)


def run_of(splits, rows):
    """The record of a RUN of these rows, as far as a training that continues it reads it; writes its splits.csv."""
    splits.parent.mkdir()
    splits.write_bytes(splits_csv(rows))
    return Run(
        model="compact",
        recipe="limiar",
        labels=("neg", "pos"),
        positive="pos",
        input=SPEC,
        data=TrainingData("nowhere", len(rows), hashlib.sha256(splits.read_bytes()).hexdigest()),
        seed=0,
        config={},
        temperature=1.0,
        epochs=1,
        best_epoch=1,
        versions={},
        commit="unknown",
        model_sha256="0" * 64,
    )
