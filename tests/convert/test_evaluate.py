"""Model files on runtimes in processes of their own, and the comparison with Keras."""

from pathlib import Path

import numpy as np
import pytest

from convert.evaluate import TFLITE_PYTHON, Bench, Environment, RuntimeFailure, compare, find_environments, significant
from convert.pipeline import Converted
from edge_app.bundle import Decision
from edge_app.errors import ConvertError

NAMES = ("neg", "pos")


def logits(*margins: float) -> np.ndarray:
    """float32 [N, 2]: pos ahead of neg by each margin."""
    return np.array([[0.0, margin] for margin in margins], np.float32)


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


def test_metrics_count_every_image_also_those_that_are_referred() -> None:
    found = logits(9, 1, -9, -1)  # two answers over 95 %
    compared = compare(found, found, np.array([1, 0, 0, 0]), NAMES, "pos", Decision(0.95))
    assert compared.metrics["accuracy"].value == 0.75
    assert compared.metrics["sensitivity"].value == 1.0
    assert compared.metrics["specificity"].value == pytest.approx(2 / 3)
    assert compared.metrics["refer_rate"].value == 0.5
    assert compared.metrics["accuracy_decided"].value == 1.0


def test_agreement_is_with_keras_and_not_with_the_truth() -> None:
    compared = compare(logits(9, 9, -9, 2), logits(9, 9, -9, -1), np.array([0, 0, 1, 1]), NAMES, "pos", Decision())
    assert compared.metrics["agreement"].value == 0.75
    assert compared.largest_difference == 3.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_answers_that_are_no_numbers_have_no_metrics(value: float) -> None:
    compared = compare(logits(9, value), logits(9, -9), np.array([1, 0]), NAMES, "pos", Decision())
    assert not compared.finite
    assert compared.metrics == {}


def test_more_than_two_labels_have_a_recall_each() -> None:
    found = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]] * 9
    compared = compare(found, found, np.array([0, 1, 2, 2]), ("a", "b", "c"), None, Decision())
    assert compared.metrics["recall_b"].value == 1.0
    assert compared.metrics["recall_c"].value == 0.5
    assert "auc" not in compared.metrics


@pytest.mark.parametrize(
    ("value", "given"), [(0.0, 0.0), (1.4e-6, 1e-5), (1.9e-6, 1e-5), (0.02349, 0.023), (0.6612, 0.66), (12.4, 12.0)]
)
def test_a_difference_is_given_without_the_digits_in_which_processors_differ(value: float, given: float) -> None:
    assert significant(value) == given
