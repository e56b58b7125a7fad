"""A folder of DICOM files goes the whole way, from phantoms to answers with their maps, by commands alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from limiar.edge_app.bundle.manifest import DicomSpec, Window
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.cli import limiar

CENTRE_WIDTH = "-300,1400"


@pytest.fixture
def command(tmp_path, monkeypatch):
    """`limiar …` in a folder of its own, in this process; it must succeed."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        done = CliRunner().invoke(limiar, words, standalone_mode=False)
        if done.exception:
            raise done.exception
        return done.output

    return run


def on_a_device(folder: Path, *words: str, status: int = 0) -> str:
    asked = [sys.executable, "-P", "-m", "limiar", *words]
    done = subprocess.run(asked, cwd=folder, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout


def test_a_folder_of_dicom_files_is_trained_on_converted_scanned_and_explained(command, few_files, tmp_path):
    few_files("tflite_int8")
    command("phantoms", "slices", "--count", "180", "--seed", "5", "--dicom")
    for number, path in enumerate(sorted((tmp_path / "slices").iterdir())):  # some without an extension, as on a CD
        if number % 4 == 0:
            path.rename(path.with_suffix(""))
    epochs = ("--set", "epochs=16", "--set", "batch=16")
    command("train", "slices", "--out", "run", "--quick", *epochs, "--channels", "1", "--dicom-window", CENTRE_WIDTH)
    command("convert", "run", "--out", "bundle", "--cam", "--allow-undecided", "--allow-chance")
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert manifest.input.dicom == DicomSpec(window=Window(-300, 1400))
    held = [line.split(",")[0] for line in (tmp_path / "run" / "splits.csv").read_text().splitlines() if ",test," in line]
    scan = ("scan", "bundle", *(f"slices/{name}" for name in held), "--refer-below", "0", "--jsonl", "-")
    lines = list(map(json.loads, on_a_device(tmp_path, *scan).splitlines()))
    assert len(lines) == len(held) > 30
    assert {line["label"] for line in lines} == {"neg", "pos"}
    assert all(len(line["dicom"]["study"]) == 32 for line in lines)
    explained = on_a_device(tmp_path, "explain", "bundle", f"slices/{held[0]}", "--out", "why.png", "--json")
    assert json.loads(explained)["sha256"] == lines[0]["sha256"]
    assert Image.open(tmp_path / "why.png").width > 640
    on_a_device(tmp_path, "verify", "bundle")
