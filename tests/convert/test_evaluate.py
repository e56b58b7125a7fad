"""Model files on runtimes in separate processes, each with the reason if it fails."""

import sys
from pathlib import Path

import numpy as np
import pytest

from limiar.convert.anatomy.flatbuffer import show_all
from limiar.convert.anatomy.layers import layer_names
from limiar.convert.pipeline import Converted
from limiar.convert.run.evaluate import TFLITE_PYTHON, Answers, Bench, Environment, RuntimeFailure, find_environments
from limiar.convert.run.first_layer import TfliteFile, differs, first_layers
from limiar.edge_app.errors import ConvertError
from scaled_layers import damages


def test_every_tflite_file_agrees_under_tflite_runtime(converted: Converted, tflite_python: str) -> None:
    assert converted.report.not_checked == ()
    for file in converted.report.files:
        if file.format == "tflite":
            runtimes = {seen.title: seen for seen in file.runtimes}
            assert list(runtimes) == ["litert", "litert, 4 threads", "litert, without XNNPACK", "tflite-runtime"]
            assert runtimes["tflite-runtime"].version == "2.14.0"
            assert runtimes["tflite-runtime"].first_layer is not None
            assert file.passed, file.faults


def test_every_file_runs_with_the_kernels_of_each_variant_and_all_of_them_are_judged(converted: Converted) -> None:
    for file in converted.report.files:
        kernels = {seen.title: seen.kernels for seen in file.runtimes}
        if file.format == "onnx":
            assert kernels == {
                "onnxruntime": "optimised graph",
                "onnxruntime, without graph optimisation": "graph as written",
            }
        else:
            quick = "built-in kernels" if file.name == "tflite_int16x8" else "XNNPACK"  # it has none of 16 bits
            assert [kernels["litert"], kernels["litert, 4 threads"]] == [quick, quick]
            assert kernels["litert, without XNNPACK"] == "built-in kernels"
        assert {finding.runtime for finding in file.findings if finding.check == "sensitivity"} == set(kernels)


def test_a_file_s_figures_are_those_of_its_runtime_as_a_device_runs_it(converted: Converted) -> None:
    for file in converted.report.files:
        own = file.runtimes[0]
        assert (own.runtime, own.options, own.own_difference, own.first_layer) == (file.expected_runtime, "", 0.0, None)
        assert file.test == own.test
        assert file.tolerance is not None
        assert max(seen.golden_difference or 0.0 for seen in file.runtimes) <= file.tolerance.other_runtime / 2


@pytest.mark.parametrize("layer", [0, 3, 7])
def test_the_first_layer_that_differs_is_named_as_keras_names_it(converted: Converted, layer: int) -> None:
    """Planted: the other runtime gets a file in which this layer's scale is wrong."""
    (noise,) = [file.layers for file in converted.report.files if file.name == "tflite_int8"]
    data, fp32 = converted.models["tflite_int8"], converted.models["tflite_fp32"]
    (wrong, *_) = [damage.data for damage in damages(data) if damage.layer == layer]
    own, other = Environment("litert", sys.executable), Environment("litert", sys.executable, "4 threads")

    class Planted(Bench):
        def answers(self, environment: Environment, name: str, model: bytes) -> Answers:
            return super().answers(environment, name, wrong if environment == other else model)

        def values(self, environment: Environment, name: str, model: bytes, row: int) -> list[np.ndarray]:
            return super().values(environment, name, show_all(wrong) if environment == other else model, row)

    file = TfliteFile("tflite_int8", data, layer_names(data, fp32, noise))
    assert converted.thumbnails is not None
    with Planted(converted.thumbnails[:8]) as bench:
        outcomes = {environment.key: bench.answers(environment, file.name, data) for environment in (own, other)}
        assert first_layers(bench, file, [own, other], outcomes) == {other.key: noise[layer].layer}
        same = dict.fromkeys(outcomes, outcomes[own.key])
        assert first_layers(bench, file, [own, other], same) == {other.key: ""}


@pytest.mark.parametrize(("found", "told"), [(1.0 + 5e-6, False), (1.0 + 5e-5, True), (np.nan, True)])
def test_floats_differ_beyond_rounding_and_integers_by_one(found: float, told: bool) -> None:
    assert differs(np.array([0.0, found], np.float32), np.array([0.0, 1.0], np.float32)) is told
    assert differs(np.array([3, 4], np.int8), np.array([3, 5], np.int8))
    assert not differs(np.array([3, 4], np.int8), np.array([3, 4], np.int8))


def test_a_runtime_that_is_not_here_is_said_to_be_unchecked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TFLITE_PYTHON, raising=False)
    monkeypatch.chdir(tmp_path)
    environments, not_checked = find_environments()
    assert [environment.title for environment in environments] == [
        *("litert", "litert, 4 threads", "litert, without XNNPACK"),
        *("onnxruntime", "onnxruntime, without graph optimisation"),
    ]
    assert [line.partition(":")[0] for line in not_checked] == ["tflite-runtime"]


@pytest.mark.parametrize("python", ["/nowhere/python", "/bin/false"])
def test_an_environment_that_is_named_and_broken_is_an_error(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TFLITE_PYTHON, python)
    with pytest.raises(ConvertError, match="E-CONVERT-RUNTIME"):
        find_environments()


def test_a_named_python_that_never_answers_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o755)
    monkeypatch.setenv(TFLITE_PYTHON, str(python))
    monkeypatch.setattr("limiar.convert.run.evaluate._LIMIT_S", 0.5)
    with pytest.raises(ConvertError, match=r"E-CONVERT-RUNTIME: .*no answer after"):
        find_environments()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("kill -SEGV $$", "crashed with signal 11"),
        ("echo 'E-RUNTIME-LOAD: op version 12' >&2; exit 1", "E-RUNTIME-LOAD: op version 12"),
        ("exit 5", "exit status 5"),
        ("kill -KILL $$", "was killed twice, probably for lack of memory: end other programs, then convert again"),
    ],
)
def test_a_file_that_a_runtime_refuses_or_crashes_on_fails_with_its_reason(tmp_path: Path, script: str, reason: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    with Bench(np.zeros((1, 24, 24, 3), np.uint8)) as bench, pytest.raises(RuntimeFailure) as failure:
        bench.answers(Environment("tflite-runtime", str(python)), "tflite_int8", b"")
    assert str(failure.value) == reason


def test_a_process_that_the_machine_killed_is_started_again(tmp_path: Path) -> None:
    python, tried = tmp_path / "python", tmp_path / "tried"
    python.write_text(f"#!/bin/sh\nif [ -e {tried} ]; then echo second >&2; exit 1; fi\ntouch {tried}\nkill -KILL $$\n")
    python.chmod(0o755)
    with Bench(np.zeros((1, 24, 24, 3), np.uint8)) as bench, pytest.raises(RuntimeFailure) as failure:
        bench.answers(Environment("tflite-runtime", str(python)), "tflite_int8", b"")
    assert str(failure.value) == "second"
