"""No value of a DICOM header reaches what a check or a training writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from planted import labelled, traces

WINDOW = "--dicom-window=-300,1400"


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled(tmp_path_factory.mktemp("patches"), 40)


def limiar(state: Path, *words: str | Path) -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, "LIMIAR_STATE": str(state)}
    command = [sys.executable, "-P", "-m", "limiar", *map(str, words)]
    return subprocess.run(command, capture_output=True, env=environment, timeout=300)


def test_what_is_planted_is_found_again(patches: Path) -> None:
    assert len(traces(patches)) >= 3 * 80


def test_a_check_tells_none(patches: Path, tmp_path: Path) -> None:
    done = limiar(tmp_path, "check", patches, WINDOW, "--no-labels", "--json", "--html", tmp_path / "check.html")
    assert done.returncode == 3
    assert b"bad.dcm" in done.stdout
    assert traces(done.stdout, done.stderr, tmp_path / "check.html") == []


def test_a_run_has_none(patches: Path, tmp_path: Path) -> None:
    (patches / "neg" / "bad.dcm").unlink()
    done = limiar(tmp_path, "train", patches, "--out", tmp_path / "run", "--quick", WINDOW, "--set", "min_per_class=4")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").exists()
    assert traces(done.stdout, done.stderr, tmp_path / "run") == []
