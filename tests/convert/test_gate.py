"""gate.toml, and what does not pass it."""

from pathlib import Path

import msgspec
import pytest

from convert.evaluate import Comparison, RuntimeResult
from convert.gate import DEFAULT, Gate, faults, read_gate
from convert.recipes import recipe
from edge_app.bundle import Metric
from edge_app.errors import ConvertError

KERAS = {"accuracy": 0.90, "sensitivity": 0.90, "specificity": 0.90, "auc": 0.95, "agreement": 1.0, "refer_rate": 0.2}


def comparison(difference: float = 0.001, **changed: float) -> Comparison:
    metrics = {name: Metric(value, 0.0, 1.0, 400) for name, value in (KERAS | changed).items()}
    return Comparison(images=400, finite=True, metrics=metrics, largest_difference=difference)


def result(test: Comparison, val: Comparison | None = None) -> RuntimeResult:
    return RuntimeResult("litert", "2.3.0", "x86_64", val=val or comparison(), test=test)


def found(name: str, *results: RuntimeResult) -> list[str]:
    return faults(read_gate(), recipe(name), comparison(0.0), results)


def test_a_file_that_lost_nothing_passes() -> None:
    assert found("tflite_int8", result(comparison())) == []


@pytest.mark.parametrize(
    ("metric", "margin"), [("accuracy", 0.02), ("sensitivity", 0.05), ("specificity", 0.05), ("auc", 0.02)]
)
def test_a_loss_of_the_margin_passes_and_a_larger_one_does_not(metric: str, margin: float) -> None:
    at, beyond = KERAS[metric] - margin, KERAS[metric] - margin - 0.001
    assert found("tflite_int8", result(comparison(**{metric: at}))) == []
    (fault,) = found("tflite_int8", result(comparison(**{metric: beyond})))
    assert fault.startswith(f"litert: {metric} {beyond:.3f}, Keras {KERAS[metric]:.3f}")


def test_a_gain_is_no_fault() -> None:
    assert found("tflite_int8", result(comparison(accuracy=1.0, auc=1.0))) == []


def test_more_referred_images_are_reported_and_no_fault() -> None:
    assert found("tflite_int8", result(comparison(refer_rate=0.9))) == []


def test_an_accuracy_by_other_labels_than_keras_s_does_not_pass() -> None:
    assert "Keras's label" in found("tflite_int8", result(comparison(agreement=0.94)))[0]


def test_logits_may_differ_in_a_quantized_file_but_not_in_a_copy() -> None:
    far = result(comparison(difference=0.5))
    assert found("tflite_int8", far) == []
    assert found("onnx_fp16", far) == []
    assert "a logit differs by 0.5" in found("tflite_fp32", far)[0]
    assert "a logit differs by 0.5" in found("onnx_fp32", far)[0]


@pytest.mark.parametrize("split", ["val", "test"])
def test_nan_does_not_pass(split: str) -> None:
    nan, fine = Comparison(images=400, finite=False), comparison()
    given = result(nan, fine) if split == "test" else result(fine, nan)
    assert found("tflite_fp16", given) == ["litert: NaN or infinity among the logits"]


def test_a_file_must_pass_on_every_runtime() -> None:
    crashed = RuntimeResult("tflite-runtime", error="crashed with signal 11")
    assert found("tflite_int8", result(comparison()), crashed) == ["tflite-runtime: crashed with signal 11"]


def test_a_file_that_no_runtime_here_reads_does_not_pass() -> None:
    assert found("onnx_fp32") == ["no runtime for onnx files is installed here"]


def test_each_label_s_recall_has_the_margin_of_recall() -> None:
    before = Comparison(
        400, True, {name: Metric(0.9, 0, 1, 400) for name in ("accuracy", "recall_a", "recall_b", "agreement")}, 0.0
    )
    lost = msgspec.structs.replace(before, metrics=before.metrics | {"recall_b": Metric(0.8, 0, 1, 100)})
    gate = msgspec.structs.replace(read_gate(), limits=msgspec.structs.replace(read_gate().limits, agreement=0.5))
    (fault,) = faults(gate, recipe("tflite_int8"), before, (RuntimeResult("litert", val=before, test=lost),))
    assert "recall_b 0.800" in fault


def test_the_default_gate_requires_the_three_files() -> None:
    assert read_gate().required == ("tflite_fp32", "tflite_int8", "onnx_fp32")


@pytest.mark.parametrize(
    "change",
    [
        ("accuracy = 0.02", ""),  # every margin is stated
        ("accuracy = 0.02", "accuracy = 0.02\nacuracy = 0.5"),
        ("accuracy = 0.02", "accuracy = 2"),
        ("accuracy = 0.02", "accuracy = -0.1"),
        ("accuracy = 0.02", "accuracy = nan"),
        ("accuracy = 0.02", "accuracy = "),
        ('"onnx_fp32"', '"onnx_fp64"'),
    ],
)
def test_a_gate_that_says_something_else_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    path = tmp_path / "gate.toml"
    text = DEFAULT.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(ConvertError, match="E-CONVERT-GATE:"):
        read_gate(path)


def test_a_gate_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="E-CONVERT-GATE-FILE"):
        read_gate(tmp_path / "gate.toml")


def test_the_docs_show_the_default_gate_and_every_key(project: Path) -> None:
    text = (project / "docs" / "gate.md").read_text()
    assert DEFAULT.read_text() in text
    gate = read_gate()
    for part in (Gate, type(gate.margins), type(gate.limits)):
        for name in part.__struct_fields__:
            assert f"`{name}`" in text, name
