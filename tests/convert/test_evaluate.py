"""Model files on runtimes in processes of their own, each with its reason where it fails."""

from pathlib import Path

import numpy as np
import pytest

from convert.evaluate import TFLITE_PYTHON, Bench, Environment, RuntimeFailure, find_environments
from convert.pipeline import Converted
from edge_app.errors import ConvertError


def test_every_tflite_file_agrees_under_tflite_runtime(converted: Converted, tflite_python: str) -> None:
    assert converted.report.not_checked == ()
    for file in converted.report.files:
        if file.format == "tflite":
            assert [seen.runtime for seen in file.runtimes] == ["litert", "tflite-runtime"]
            assert file.runtimes[1].version == "2.14.0"
            assert file.passed, file.faults


def test_a_runtime_that_is_not_here_is_said_to_be_unchecked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TFLITE_PYTHON, raising=False)
    monkeypatch.chdir(tmp_path)
    environments, not_checked = find_environments()
    assert [environment.runtime for environment in environments] == ["litert", "onnxruntime"]
    assert [line.partition(":")[0] for line in not_checked] == ["tflite-runtime"]


@pytest.mark.parametrize("python", ["/nowhere/python", "/bin/false"])
def test_an_environment_that_is_named_and_broken_is_an_error(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TFLITE_PYTHON, python)
    with pytest.raises(ConvertError, match="E-CONVERT-RUNTIME"):
        find_environments()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("kill -SEGV $$", "crashed with signal 11"),
        ("echo 'E-RUNTIME-LOAD: op version 12' >&2; exit 1", "E-RUNTIME-LOAD: op version 12"),
        ("exit 5", "exit status 5"),
    ],
)
def test_a_file_that_a_runtime_refuses_or_crashes_on_fails_with_its_reason(tmp_path: Path, script: str, reason: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    with Bench(np.zeros((1, 24, 24, 3), np.uint8)) as bench, pytest.raises(RuntimeFailure) as failure:
        bench.answers(Environment("tflite-runtime", str(python)), "tflite_int8", b"")
    assert str(failure.value) == reason
