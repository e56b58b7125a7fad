"""Generated patches: repeatable, correctly labelled, and in the right form."""

import functools
import io
import itertools
import signal
import subprocess
import sys
import time

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from PIL import Image

from limiar.edge_app.errors import LimiarError, TrainError
from limiar.train.commands.phantoms import phantoms as command
from limiar.train.data.phantom_dicom import phantom_files
from limiar.train.data.phantom_folder import write_phantoms
from limiar.train.data.phantoms import KINDS, SIDE, phantom, phantoms


def test_the_same_seed_gives_the_same_bytes():
    assert list(phantoms(12, seed=5)) == list(phantoms(12, seed=5))


def test_a_longer_series_begins_with_the_shorter_one():
    assert list(itertools.islice(phantoms(1000, seed=5), 12)) == list(phantoms(12, seed=5))


def test_another_seed_gives_other_images():
    one, other = dict(phantoms(24, seed=5)), dict(phantoms(24, seed=6))
    assert not set(one.values()) & set(other.values())
    assert len(set(one.values())) == 24


def test_half_of_them_are_positive_and_all_are_grey_50x50_pngs():
    made = list(phantoms(30, seed=1))
    assert [name[-8:-4] for name, _ in made] == ["_pos", "_neg"] * 15
    for _, data in made:
        image = Image.open(io.BytesIO(data))
        assert (image.format, image.mode, image.size) == ("PNG", "L", (SIDE, SIDE))


@pytest.mark.parametrize("kind", KINDS)
def test_a_nodule_is_denser_than_the_lung_around_it(kind):
    patches = [phantom(np.random.default_rng([seed, 9]), kind).astype(float) for seed in range(20)]
    middle, whole = (np.median([statistic(patch) for patch in patches]) for statistic in (centre_peak, np.median))
    assert middle > whole + 40  # grey levels; ground glass is 60 above the lung


def centre_peak(patch):
    return np.percentile(patch[17:33, 17:33], 90)


@pytest.mark.parametrize("name", ["file/images", "i" * 256, "nowhere"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("")
    (tmp_path / "nowhere").symlink_to("gone")
    asked = CliRunner().invoke(command, [str(tmp_path / name), "--count", "6"])
    assert isinstance(asked.exception, TrainError)
    assert asked.exception.code == "E-PHANTOMS-OUT"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "nowhere"}


def test_the_command_writes_them_all_or_refuses(tmp_path):
    out = tmp_path / "images"
    assert CliRunner().invoke(command, [str(out), "--count", "6", "--seed", "2"]).exit_code == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == dict(phantoms(6, seed=2))
    again = CliRunner().invoke(command, [str(out), "--count", "6"])
    assert isinstance(again.exception, TrainError)
    assert again.exception.code == "E-PHANTOMS-OUT"
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_nothing(tmp_path, number, status):
    asked = [sys.executable, "-m", "limiar", "phantoms", tmp_path / "images", "--count", "1000000"]
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # in the background a shell has it ignored
    with subprocess.Popen(asked, stderr=subprocess.PIPE, preexec_fn=heard) as process:
        deadline = time.monotonic() + 300
        while not any(tmp_path.glob(".*/*.png")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert [line for line in said.splitlines() if not line.startswith(b"phantoms ")] == []  # how far it is, after ten seconds
    assert process.returncode == status
    assert list(tmp_path.iterdir()) == []


def read_dicom(data):
    return pydicom.dcmread(io.BytesIO(data))


def test_dicom_phantoms_are_the_same_patches_in_hounsfield_units():
    for (name, data), (other, png) in zip(phantom_files(24, seed=5), phantoms(24, seed=5), strict=True):
        assert name.removesuffix(".dcm") == other.removesuffix(".png")
        file = read_dicom(data)
        assert (file.BitsStored, file.PixelRepresentation, file.RescaleSlope, file.RescaleIntercept) == (12, 1, 1, 0)
        hu = file.pixel_array.astype(float)
        assert hu.min() < -800
        levels = np.clip((hu + 1000) / 1400 * 255, 0, 255)
        assert np.abs(levels - np.asarray(Image.open(io.BytesIO(png)))).max() < 1


def test_dicom_phantoms_have_the_same_bytes_each_time_and_six_make_a_study():
    made = list(phantom_files(18, seed=5))
    assert made == list(phantom_files(18, seed=5))
    files = [read_dicom(data) for _, data in made]
    assert len({file.SOPInstanceUID for file in files}) == 18
    assert len({(file.StudyInstanceUID, file.PatientID) for file in files}) == 3
    for study in (files[:6], files[6:12], files[12:]):
        assert len({(f.StudyInstanceUID, f.SeriesInstanceUID) for f in study}) == 1
        assert [f.InstanceNumber for f in study] == [1, 2, 3, 4, 5, 6]
        assert len({tuple(f.ImagePositionPatient) for f in study}) == 6


def test_the_command_writes_dicom_if_asked(tmp_path):
    out = tmp_path / "slices"
    assert CliRunner().invoke(command, [str(out), "--count", "6", "--seed", "2", "--dicom"]).exit_code == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == dict(phantom_files(6, seed=2))


def test_without_pydicom_the_line_that_installs_it_is_said(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("pydicom.", "limiar.train.data.phantom_dicom"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "limiar.train.data.ct_file")
    for name in ("pydicom", "pydicom.dataset"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(LimiarError, match=r"pip install 'limiar\[dicom-write\]'") as refused:
        write_phantoms(tmp_path / "slices", 6, dicom=True)
    assert refused.value.code == "E-INSTALL-MISSING"
    assert list(tmp_path.iterdir()) == []
