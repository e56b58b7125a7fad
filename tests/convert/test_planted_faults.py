"""A damaged file is caught by the check named for it, and the undamaged one raises none. Scales of layers: test_layers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from limiar.convert import pipeline
from limiar.convert.defaults import CARD
from limiar.convert.export.make import Files, Ground, Note, make_files
from limiar.convert.pipeline import Converted
from limiar.convert.publish.publish import publish_bundle
from limiar.convert.run.dataset import full_range
from limiar.convert.source import keras_model
from limiar.edge_app.bundle.manifest import Decision, InputSpec, Threshold
from limiar.edge_app.errors import ConvertError

Convert = Callable[..., Any]
Few = Callable[..., None]


def labels_swapped(weights: list[np.ndarray]) -> list[np.ndarray]:
    """The last layer's outputs in the other order."""
    *earlier, kernel, bias = weights
    return [*earlier, kernel[:, ::-1], bias[::-1]]


def colours_swapped(weights: list[np.ndarray]) -> list[np.ndarray]:
    """The first layer reads blue where red is: its depthwise and its pointwise kernel, [3, 3, C, 1] and [1, 1, C, F]."""
    depthwise, pointwise, *later = weights
    return [depthwise[:, :, ::-1], pointwise[:, :, ::-1], *later]


def failed_checks(report: Any, name: str) -> set[str]:
    file = next(file for file in report["files"] if file["name"] == name)
    return {finding["check"] for finding in file["findings"] if finding["verdict"] == "FAIL"}


@pytest.mark.parametrize(("fault", "check"), [(labels_swapped, "sensitivity"), (colours_swapped, "golden colours")])
def test_files_of_a_model_that_is_not_the_keras_model_are_caught_by_the_check_named_for_it(
    fault: Callable[[list[np.ndarray]], list[np.ndarray]],
    check: str,
    limiar_convert: Convert,
    few_files: Few,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few_files("tflite_int8", "onnx_int8")
    (tmp_path / "gate.toml").write_text("retry = false\n")  # no other layers help

    def of_another_model(model: Any, spec: InputSpec, ground: Ground, note: Note) -> Files:
        other = keras_model.keras.models.clone_model(model)
        other.set_weights(fault(model.get_weights()))
        return make_files(other, spec, ground, note)

    monkeypatch.setattr(pipeline, "make_files", of_another_model)
    assert limiar_convert(run, "--out", tmp_path / "out", "--gate", tmp_path / "gate.toml").return_value == 3
    report = msgspec.json.decode((tmp_path / "out.refused" / "report.json").read_bytes())
    for file in report["files"]:
        assert check in failed_checks(report, file["name"])


def test_an_integer_file_whose_output_cannot_hold_the_logits_is_caught_as_saturated(
    limiar_convert: Convert, few_files: Few, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_files("tflite_int8", "tflite_int16x8", "onnx_fp32", "onnx_int8")

    def of_nothing(*given: Any) -> np.ndarray:
        return full_range(np.full((1, 24, 24, 3), 70, np.uint8))  # no image that the model has an answer for

    gate = tmp_path / "gate.toml"
    gate.write_text('retry = false\nrequired = ["tflite_int8"]\n')
    monkeypatch.setattr(pipeline.dataset, "calibration_tensors", of_nothing)
    assert limiar_convert(run, "--out", tmp_path / "out", "--gate", gate).return_value == 3
    report = msgspec.json.decode((tmp_path / "out.refused" / "report.json").read_bytes())
    assert [file["name"] for file in report["files"] if "saturation" in failed_checks(report, file["name"])] == [
        "tflite_int8",
        "tflite_int16x8",
        "onnx_int8",
    ]


def test_the_undamaged_files_raise_nothing(converted: Converted) -> None:
    findings = [finding for file in converted.report.files for finding in file.findings]
    assert {"sensitivity", "golden colours", "decision", "layer noise", "saturation"} <= {finding.check for finding in findings}
    assert [finding for finding in findings if finding.verdict != "PASS"] == []


@pytest.mark.parametrize("moved", [Decision(refer_below=0.94), Decision(threshold=Threshold("pos", 0.51))])
def test_a_threshold_that_moved_on_the_way_to_the_manifest_is_caught_by_the_refit(
    moved: Decision, converted: Converted, tmp_path: Path
) -> None:
    report = converted.report
    files = tuple(msgspec.structs.replace(file, decision=moved) if file.name == "onnx_fp32" else file for file in report.files)
    damaged = msgspec.structs.replace(converted, report=msgspec.structs.replace(report, files=files))
    with pytest.raises(ConvertError, match="E-CONVERT-DECISION: onnx_fp32"):
        publish_bundle(tmp_path / "out", damaged, release_counter=1, seed=0, card=CARD)
    assert list(tmp_path.iterdir()) == []
