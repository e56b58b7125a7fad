"""Generated CT series: repeatable, in the right form, and with the spheres where truth.json says."""

import csv
import io
import itertools
import json
from collections import Counter

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

from limiar.train.commands.phantoms import phantoms as command
from limiar.train.data.phantom_chest import PIXEL_MM, SIDE, SLICES, STEP_MM, Chest, corner_mm, height_mm
from limiar.train.data.phantom_series import PATCHES_EACH, TILE, patch_files, series_files

SEED = 2


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return dict(series_files(1, SEED))


def voxel(volume, place):
    """The value at a place in mm."""
    x, y, z = place
    return volume[round(z / STEP_MM + (SLICES - 1) / 2), *(round((mm - corner_mm()) / PIXEL_MM) for mm in (y, x))]


def test_the_same_seed_gives_the_same_bytes():
    one, two = (dict(itertools.islice(series_files(1, SEED), 3)) for _ in range(2))
    assert one == two
    assert one != dict(itertools.islice(series_files(1, SEED + 1), 3))


def test_a_series_is_forty_ct_files_of_one_study_from_the_head_down(files):
    read = [pydicom.dcmread(io.BytesIO(data)) for name, data in sorted(files.items()) if name.endswith(".dcm")]
    assert [file.InstanceNumber for file in read] == list(range(1, SLICES + 1))
    heights = [file.ImagePositionPatient[2] for file in read]
    assert heights == sorted(heights, reverse=True)
    assert {(file.Rows, file.Columns, file.SeriesInstanceUID) for file in read} == {(SIDE, SIDE, read[0].SeriesInstanceUID)}


def test_the_spheres_are_where_truth_json_says_and_not_in_an_empty_series(files):
    truth = json.loads(files["truth.json"])
    chest, empty = Chest(SEED, 0), Chest(SEED, 0, empty=True)
    volume, without = (np.stack([of.slice(low) for low in range(SLICES)]) for of in (chest, empty))
    file = pydicom.dcmread(io.BytesIO(files["series_000/IM0040.dcm"]))
    assert np.array_equal(file.pixel_array, np.rint(volume[0]).clip(-2048, 2047))  # the lowest slice has the highest number
    assert file.ImagePositionPatient == pytest.approx([corner_mm(), corner_mm(), height_mm(0)], abs=1e-3)
    assert len(truth[0]["spheres"]) >= 2
    for sphere in truth[0]["spheres"]:
        assert voxel(volume, sphere["place_mm"]) == pytest.approx(sphere["hu"], abs=150)  # noise of 28 HU at most, five times
        assert voxel(without, sphere["place_mm"]) < -600  # lung
    assert empty.spheres == ()


def test_marks_are_where_the_slices_show_a_sphere(files):
    marks = list(csv.DictReader(io.StringIO(files["marks.csv"].decode())))
    assert {mark["ignore"] for mark in marks} == {"yes", "no"}
    for mark in marks:
        if mark["ignore"] == "no":
            pixels = pydicom.dcmread(io.BytesIO(files[mark["file"]])).pixel_array
            assert pixels[round(float(mark["y"])), round(float(mark["x"]))] > -200  # tissue in lung
    of_file = Counter(mark["file"] for mark in marks)
    spheres = json.loads(files["truth.json"])[0]["spheres"]
    crossed = sum(abs(height_mm(low) - one["place_mm"][2]) < one["radius_mm"] for low in range(SLICES) for one in spheres)
    assert of_file.total() == crossed


def test_patches_are_positive_and_negative_by_turns_and_share_a_study():
    made = list(patch_files(PATCHES_EACH + 2, SEED))
    read = [pydicom.dcmread(io.BytesIO(data)) for _, data in made]
    assert [name[-7:-4] for name, _ in made] == ["pos", "neg"] * (len(made) // 2)
    assert {file.pixel_array.shape for file in read} == {(TILE, TILE)}
    studies = [file.StudyInstanceUID for file in read]
    assert len(set(studies[:PATCHES_EACH])) == 1
    assert len(set(studies)) == 2
    middles = [file.pixel_array[10:30, 10:30].max() for file, (name, _) in zip(read, made, strict=True) if "pos" in name]
    assert min(middles) > -200  # a sphere is tissue


def test_the_command_writes_a_series_whole(tmp_path):
    out = tmp_path / "ct"
    assert CliRunner().invoke(command, [str(out), "--series", "1", "--seed", str(SEED)]).exit_code == 0
    assert len(list((out / "series_000").iterdir())) == SLICES
    assert json.loads((out / "truth.json").read_text())[0]["folder"] == "series_000"


@pytest.mark.parametrize(
    "wrong", [[], ["--count", "2", "--series", "1"], ["--count", "2", "--empty"], ["--series", "1", "--dicom"]]
)
def test_options_that_contradict_are_refused(tmp_path, wrong):
    asked = CliRunner().invoke(command, [str(tmp_path / "out"), *wrong])
    assert asked.exit_code == 2
    assert not (tmp_path / "out").exists()
