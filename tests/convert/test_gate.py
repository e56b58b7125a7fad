"""gate.toml, and what fails it."""

import os
from collections.abc import Callable
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from limiar.convert.export.recipes import recipe
from limiar.convert.gate.comparison import Comparison, GroupLoss
from limiar.convert.gate.decision_rule import DecisionRule
from limiar.convert.gate.gate import Gate, GateFinding, GateLimits, NonInferiority, Retry, RuntimeResult, findings, verdict
from limiar.convert.gate.gate_file import DEFAULT, differences, gate_toml, read_gate, with_options
from limiar.convert.gate.noninferiority import PairedLoss, paired_loss
from limiar.edge_app.bundle.manifest import Metric
from limiar.edge_app.cli import limiar as limiar_group
from limiar.edge_app.errors import BundleError, ConvertError

KERAS = {"accuracy": 0.90, "auc": 0.95, "agreement": 1.0, "refer_rate": 0.2}
CALIBRATION = {"nll": 0.3, "brier": 0.1, "ece": 0.02}


def loss(name: str, lost: int, n: int = 400) -> PairedLoss:
    return paired_loss(name, lost, 0, n, margin=0.05, alpha=0.05)


def comparison(
    losses: tuple[PairedLoss, ...] = (loss("specificity", 0), loss("sensitivity", 0)),
    difference: float = 0.001,
    flips: float = 0.0,
    group: GroupLoss | None = None,
    calibration: dict[str, float] | None = None,
    **changed: float,
) -> Comparison:
    return Comparison(
        images=800,
        finite=True,
        metrics={name: Metric(value, 0.0, 1.0, 800) for name, value in (KERAS | changed).items()},
        losses=losses,
        calibration=CALIBRATION | (calibration or {}),
        flips=Metric(flips, 0.0, 1.0, 800),
        largest_difference=difference,
        worst_group=group,
    )


def result(test: Comparison, val: Comparison | None = None) -> RuntimeResult:
    return RuntimeResult("litert", "2.3.0", "x86_64", val=val or comparison(), test=test)


def found(given: RuntimeResult, gate: Gate | None = None, name: str = "tflite_int8") -> list[GateFinding]:
    return findings(gate or read_gate(), recipe(name), comparison(), given)


def limited(**limits: float) -> Gate:
    return msgspec.structs.replace(read_gate(), limits=msgspec.structs.replace(read_gate().limits, **limits))


def test_a_file_that_lost_nothing_passes_every_check() -> None:
    checks = found(result(comparison()))
    assert {finding.verdict for finding in checks} == {"PASS"}
    assert [finding.check for finding in checks] == ["finite", "golden images", "specificity", "sensitivity"]


@pytest.mark.parametrize(("lost", "said"), [(4, "PASS"), (14, "INCONCLUSIVE"), (40, "FAIL")])
def test_a_class_that_lost_images_decides(lost: int, said: str) -> None:
    checks = found(result(comparison((loss("specificity", 0), loss("sensitivity", lost)))))
    assert verdict(checks) == said
    (decisive,) = [finding for finding in checks if finding.check == "sensitivity"]
    assert decisive.message.startswith(f"sensitivity lost {lost / 4:.1f} points of 400 images")
    assert ("more images of this class would decide" in decisive.message) == (said == "INCONCLUSIVE")


def test_of_many_labels_the_worst_is_named() -> None:
    losses = tuple(loss(f"recall_{name}", lost) for name, lost in (("a", 0), ("b", 60), ("c", 50)))
    (decisive,) = [finding for finding in found(result(comparison(losses))) if finding.check == "recall"]
    assert decisive.verdict == "FAIL"
    assert decisive.message.startswith("recall_b lost 15.0 points")
    assert decisive.message.endswith("; 1 more labels are FAIL")


@pytest.mark.parametrize(
    ("limit", "value", "test"),
    [
        ("logit_difference", 0.1, comparison(difference=0.2)),
        ("flips", 0.01, comparison(flips=0.02)),
        ("accuracy_drop", 0.01, comparison(accuracy=0.88)),
        ("auc_drop", 0.01, comparison(auc=0.93)),
        ("nll_rise", 0.05, comparison(calibration={"nll": 0.4})),
        ("brier_rise", 0.05, comparison(calibration={"brier": 0.2})),
        ("ece", 0.05, comparison(calibration={"ece": 0.06})),
        ("refer_rate_rise", 0.1, comparison(refer_rate=0.35)),
        ("group_drop", 0.1, comparison(group=GroupLoss("3e23e816", 20, 0.15))),
    ],
)
def test_what_is_reported_decides_where_the_gate_limits_it(limit: str, value: float, test: Comparison) -> None:
    assert {finding.verdict for finding in found(result(test))} == {"PASS"}
    failed = [finding.check for finding in found(result(test), limited(**{limit: value})) if finding.verdict == "FAIL"]
    assert failed == [limit]


def test_a_limit_of_a_figure_that_there_is_not_is_not_passed_over() -> None:
    test = comparison()
    three = msgspec.structs.replace(test, metrics={name: one for name, one in test.metrics.items() if name != "auc"})
    assert verdict(found(result(three))) == "PASS"
    failed = [finding.check for finding in found(result(three), limited(auc_drop=0.01)) if finding.verdict == "FAIL"]
    assert failed == ["auc_drop"]


def test_a_limit_of_a_group_s_loss_fails_where_no_group_is_known() -> None:
    failed = [finding.check for finding in found(result(comparison()), limited(group_drop=0.1)) if finding.verdict == "FAIL"]
    assert failed == ["group_drop"]
    unharmed = comparison(group=GroupLoss("3e23e816", 20, 0.0))
    assert {finding.verdict for finding in found(result(unharmed), limited(group_drop=0.1))} == {"PASS"}


def test_a_limit_itself_and_a_gain_are_no_fault() -> None:
    gate = limited(accuracy_drop=0.02, auc_drop=0.0, refer_rate_rise=0.0, nll_rise=0.0)
    given = comparison(accuracy=0.88, auc=0.99, refer_rate=0.1, calibration={"nll": 0.1})
    assert {finding.verdict for finding in found(result(given), gate)} == {"PASS"}


@pytest.mark.parametrize("name", ["tflite_int8", "onnx_fp16"])
def test_logits_may_differ_in_a_quantized_file(name: str) -> None:
    assert {finding.verdict for finding in found(result(comparison(difference=0.5)), name=name)} == {"PASS"}


@pytest.mark.parametrize("name", ["tflite_fp32", "onnx_fp32"])
def test_logits_may_not_differ_in_a_copy(name: str) -> None:
    failed = [finding for finding in found(result(comparison(difference=0.5)), name=name) if finding.verdict == "FAIL"]
    assert [finding.check for finding in failed] == ["fp32_logit_difference"]


@pytest.mark.parametrize("split", ["val", "test"])
def test_nan_does_not_pass(split: str) -> None:
    nan, fine = Comparison(images=400, finite=False), comparison()
    given = result(nan, fine) if split == "test" else result(fine, nan)
    assert [finding.line for finding in found(given)] == ["litert: NaN or infinity among the logits"]


def test_a_runtime_that_gives_no_answer_does_not_pass() -> None:
    crashed = RuntimeResult("tflite-runtime", error="crashed with signal 11")
    assert [finding.line for finding in found(crashed)] == ["tflite-runtime: crashed with signal 11"]
    assert verdict(found(crashed) + found(result(comparison()))) == "FAIL"


def test_another_decision_for_a_golden_image_does_not_pass() -> None:
    given = msgspec.structs.replace(result(comparison()), golden_decisions=2)
    failed = [finding for finding in found(given) if finding.verdict == "FAIL"]
    assert [finding.check for finding in failed] == ["golden images"]


def test_the_default_gate_requires_one_copy_of_full_precision() -> None:
    assert read_gate().required == ()
    assert read_gate().required_one_of == ("tflite_fp32", "onnx_fp32")


@pytest.mark.parametrize(
    "change",
    [
        ("margin = 0.05", "margin = 0.05\nmargn = 0.5"),
        ("margin = 0.05", "margin = 2"),
        ("margin = 0.05", "margin = 0"),
        ("alpha = 0.05", "alpha = nan"),
        ("alpha = 0.05", "alpha = "),
        ("error_decided = 0.02", "error_decided = 0.02\nsensitivity = 0.9"),
        ('"onnx_fp32"', '"onnx_fp64"'),
        ("required = []", 'required = ["onnx_fp64"]'),
        ("inconclusive_passes = false", "noninferiority = false"),
        ("[retry]", "[retri]"),
    ],
)
def test_a_gate_that_says_something_else_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    path = tmp_path / "gate.toml"
    text = DEFAULT.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(ConvertError, match="E-CONVERT-GATE:"):
        read_gate(path)


def own_gate(tmp_path: Path, text: str) -> Gate:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    return read_gate(path)


def test_a_gate_file_says_only_what_is_to_be_otherwise(tmp_path: Path) -> None:
    gate = own_gate(tmp_path, "[noninferiority]\nmargin = 0.1\n[limits]\nflips = 0.2\n")
    default = read_gate()
    assert gate.noninferiority == NonInferiority(margin=0.1, alpha=default.noninferiority.alpha)
    assert gate.limits == msgspec.structs.replace(default.limits, flips=0.2)
    assert (gate.retry, gate.decision, gate.required_one_of) == (default.retry, default.decision, default.required_one_of)
    assert differences(gate) == "noninferiority.margin = 0.1; limits.flips = 0.2"
    assert differences(default) == ""


def test_another_decision_replaces_the_default_one(tmp_path: Path) -> None:
    assert own_gate(tmp_path, "[decision]\nrefer_rate = 0.1\n").decision == DecisionRule(refer_rate=0.1)


def test_false_takes_a_default_away(tmp_path: Path) -> None:
    gate = own_gate(tmp_path, "retry = false\n[limits]\nlayer_snr_db = false\n")
    assert gate.retry is None
    assert gate.limits == msgspec.structs.replace(read_gate().limits, layer_snr_db=None)
    assert own_gate(tmp_path, "limits = false\n").limits == GateLimits()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "retry = false\n",
        "limits = false\n[decision]\nsensitivity = 0.9\n",
        'required = ["tflite_int8"]\n[limits]\nece = 0.1\n',
    ],
)
def test_the_gate_that_is_printed_is_read_as_the_same_gate(tmp_path: Path, text: str) -> None:
    gate = own_gate(tmp_path, text)
    assert own_gate(tmp_path, gate_toml(gate)) == gate


def test_options_stand_beside_a_gate_file_and_need_none(tmp_path: Path) -> None:
    gate = with_options(own_gate(tmp_path, 'required = ["onnx_fp16"]'), ["tflite_int8", "onnx_fp16"], 0.1, 0.9, True)
    assert gate.required == ("onnx_fp16", "tflite_int8")
    assert (gate.noninferiority.margin, gate.decision, gate.inconclusive_passes) == (0.1, DecisionRule(confidence=0.9), True)
    assert with_options(read_gate(), [], None, None, False) == read_gate()
    with pytest.raises(ConvertError, match=r"E-CONVERT-GATE: --require: required has int8, which is not one of .*tflite_int8"):
        with_options(read_gate(), ["int8"], None, None, False)


def convert_command(*words: str | Path) -> Result:
    return CliRunner().invoke(limiar_group, ["convert", *map(str, words)], standalone_mode=False)


def test_print_gate_needs_neither_a_run_nor_an_out_and_prints_what_then_holds(tmp_path: Path) -> None:
    assert convert_command("--print-gate").stdout == DEFAULT.read_text()
    own = tmp_path / "own.toml"
    own.write_text("[limits]\nflips = 0.1\n")
    printed = convert_command("--gate", own, "--require", "tflite_int8", "--margin", 0.1, "--refer-below", 0.95, "--print-gate")
    assert printed.return_value == 0
    gate = own_gate(tmp_path, printed.stdout)
    assert gate == with_options(read_gate(own), ["tflite_int8"], 0.1, 0.95, False)


@pytest.mark.parametrize("words", [("--margin", "10"), ("--margin", "0"), ("--refer-below", "95"), ()])
def test_what_cannot_be_is_a_usage_error_before_anything_is_read(words: tuple[str, ...]) -> None:
    assert isinstance(convert_command("no-run", *words).exception, click.UsageError)


@pytest.mark.parametrize(("there", "said"), [("manifest.sig", "a signed bundle"), ("other", "a bundle")])
def test_a_bundle_that_is_there_is_seen_before_the_work(tmp_path: Path, there: str, said: str) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / there).write_text("")
    error = convert_command("no-run", "--out", tmp_path).exception
    assert isinstance(error, BundleError)
    assert str(error).startswith(f"E-BUNDLE-OUT: {tmp_path} already has {said}: give --replace")
    assert getattr(convert_command("no-run", "--out", tmp_path, "--replace").exception, "code", "") == "E-RUN-MISSING"


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("")
    error = convert_command("no-run", "--out", tmp_path, "--replace").exception
    assert getattr(error, "code", "") == "E-BUNDLE-OUT"


@pytest.mark.parametrize("make", [lambda path: None, os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_gate_that_is_not_a_plain_file_is_refused_and_not_waited_for(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "gate.toml")
    with pytest.raises(ConvertError, match="E-CONVERT-GATE-FILE"):
        read_gate(tmp_path / "gate.toml")


def test_the_docs_show_the_default_gate_and_every_key(project: Path) -> None:
    text = (project / "docs" / "gate.md").read_text()
    assert DEFAULT.read_text() in text
    for part in (Gate, NonInferiority, DecisionRule, Retry, GateLimits):
        for name in part.__struct_fields__:
            assert f"`{name}`" in text, name


@pytest.mark.parametrize(("cosine", "said"), [(0.98, "PASS"), (-0.98, "FAIL"), (-0.1, "PASS")])
def test_a_file_that_follows_keras_on_swapped_colours_does_not_pass(cosine: float, said: str) -> None:
    given = msgspec.structs.replace(result(comparison()), golden_colours=cosine)
    assert [finding.verdict for finding in found(given) if finding.check == "golden colours"] == [said]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("margin = 0.1", "there is no margin; did you mean noninferiority.margin?"),
        ("[noninferiority]\nmarign = 0.1", "there is no noninferiority.marign; did you mean noninferiority.margin?"),
        ("[noninferiorty]\nmargin = 0.1", "there is no noninferiorty; did you mean noninferiority?"),
        ("[noninferiority]\nmargin = nan", "noninferiority.margin must be a number > 0.0"),
        ("[noninferiority]\nmargin = 1", "noninferiority.margin must be a number < 0.5"),
        ('required = "tflite_int8"', "required must be a list, and is text"),
        ('inconclusive_passes = "yes"', "inconclusive_passes must be true or false, and is text"),
        ('[limits]\nflips = "few"', "limits.flips must be a number, and is text"),
        ("noninferiority = 3", "noninferiority must be a section, and is a whole number"),
        ("elephant = 3", "there is no elephant: docs/gate.md"),
    ],
)
def test_what_a_gate_file_has_wrong_is_said_in_its_own_words(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "gate.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConvertError, match="E-CONVERT-GATE") as refused:
        read_gate(tmp_path / "gate.toml")
    assert said in refused.value.message
    assert "$" not in refused.value.message
