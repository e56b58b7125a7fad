"""`convert_model`: what a program gets where the command prints."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limiar.convert.conversion import convert_model
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.errors import BundleError, ConvertError

Few = Callable[..., None]


def test_it_returns_the_bundle_and_its_report(run: Path, tmp_path: Path, few_files: Few) -> None:
    few_files()
    done = convert_model(run, out=tmp_path / "out", thumbnails=False)
    assert (done.published, done.folder, done.verdict) == (True, tmp_path / "out", "PASS")
    assert done.report_json == (tmp_path / "out" / "report.json").read_bytes()
    assert {file.name for file in done.report.files if file.passed} == set(open_bundle(done.folder).manifest.models)
    assert done.summary[-1] == f"PASS: {done.folder}"


def test_a_refused_release_is_a_value(run: Path, tmp_path: Path, few_files: Few) -> None:
    few_files()
    done = convert_model(run, out=tmp_path / "out", refer_below=0.5, margin=0.001, gate=strict(tmp_path))
    assert (done.published, done.folder, done.verdict) == (False, tmp_path / "out.refused", "REFUSED")
    assert not (tmp_path / "out").exists()
    assert done.report.refused_for


def strict(folder: Path) -> Path:
    """A gate that no file passes."""
    file = folder / "gate.toml"
    file.write_text("[limits]\nfp32_logit_difference = false\nece = 0.0\n")
    return file


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"run": "run", "model": "m.keras"},
        {"model": "m.keras"},
        {"run": "run", "scale": 1 / 255},
        {"run": "run", "bgr": True},
    ],
)
def test_arguments_that_contradict_each_other_are_a_type_error(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        convert_model(out=tmp_path / "out", **arguments)


def test_its_errors_are_those_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="E-CONVERT-CARD"):
        convert_model("run", out=tmp_path / "out", card=tmp_path / "nowhere.md")
    (tmp_path / "there").mkdir()
    with pytest.raises(BundleError, match="E-BUNDLE-OUT"):
        convert_model("run", out=tmp_path / "there")


def test_an_error_of_the_child_process_is_raised_in_the_caller(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom limiar.convert.conversion import convert_model\nfrom limiar.edge_app.errors import LimiarError\n"
        "try:\n    convert_model(sys.argv[1], out=sys.argv[2])\n"
        "except LimiarError as error:\n    print(type(error).__name__, error.code, 'numpy' in sys.modules)\n"
    )
    command = [sys.executable, "-P", "-c", code, str(tmp_path / "nowhere"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.stderr) == ("RunError E-RUN-MISSING False\n", "")
