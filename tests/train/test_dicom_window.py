"""`--dicom-window`: what it accepts, and where it goes."""

import pytest
from click.testing import CliRunner

from limiar.convert.commands.convert import convert
from limiar.edge_app.bundle.manifest import DicomSpec, Window
from limiar.train.commands.train import train
from limiar.train.config import input_of
from limiar.train.dataset.image_store import OnDisk
from limiar.train.run.request import request_of
from limiar.train.sweep.sweep import _command


@pytest.mark.parametrize(
    "text", ["", "files", "-600", "-600,", "-600,0", "-600,-5", "1.5,20", "1,2,3", "1e3,5", "9999999999,5"]
)
@pytest.mark.parametrize("command", [train, convert])
def test_what_is_no_window_is_a_usage_error(command, text):
    asked = CliRunner().invoke(command, ["images", "--out", "out", "--dicom-window", text])
    assert (asked.exit_code, asked.exception.__class__) == (2, SystemExit)
    assert "neither centre and width in whole numbers, such as -600,1500, nor file" in asked.output


@pytest.mark.parametrize("window", [(0, 0), (0, -1), (1 << 40, 5), ("a", 1)])
def test_a_window_that_a_manifest_cannot_have_is_refused_at_once(window):
    with pytest.raises(ValueError, match=r"Expected"):
        DicomSpec.given(window)


def test_the_window_is_in_the_model_s_input_and_in_the_command_that_trains_it_again(tmp_path):
    for given, spec in (("file", DicomSpec()), ((-600, 1500), DicomSpec(window=Window(-600, 1500)))):
        request = request_of(tmp_path, tmp_path / "run", recipe="limiar", dicom_window=given)
        assert request.input.dicom == spec
        words = _command(request, None, ())
        assert words[words.index("--dicom-window") + 1] == ("file" if given == "file" else "-600,1500")
    assert "--dicom-window" not in _command(request_of(tmp_path, tmp_path / "run", recipe="limiar"), None, ())


def test_images_kept_on_disk_by_one_window_are_not_taken_for_those_of_another(tmp_path):
    windows = (None, "file", (-600, 1500), (-600, 1400))
    assert len({OnDisk(tmp_path, 4, input_of((40, 40), 3, dicom_window=window)).path for window in windows}) == 4


@pytest.mark.parametrize("text", ["40", "40,0", "8,40", "5000,8", "40,8,1", "forty,8"])
def test_tiles_that_cannot_be_are_a_usage_error(text):
    asked = CliRunner().invoke(convert, ["run", "--out", "out", "--tiles", text])
    assert asked.exit_code == 2
    assert "--tiles" in asked.output
    assert CliRunner().invoke(convert, ["run", "--out", "out", "--sought", "pos"]).exit_code == 2
