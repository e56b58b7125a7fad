"""A test split that is too small to decide: what is released, what is left out, and what is said about it."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from click.testing import CliRunner, Result

from limiar.convert.defaults import CARD
from limiar.convert.gate.file_report import FileReport
from limiar.convert.gate.gate import GateFinding
from limiar.convert.gate.gate_file import read_gate, with_options
from limiar.convert.pipeline import Converted, ConvertRequest, convert_run
from limiar.convert.publish.publish import bundle_files, publish_bundle
from limiar.convert.report.junit import junit_xml
from limiar.convert.report.outcome import outcome
from limiar.convert.report.release_page import reason, report_html
from limiar.convert.report.release_report import alike, model_card, report_json
from limiar.convert.source.origin import RunFolder
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.cli import limiar as limiar_group
from limiar.train.record.run_folder import RECORD, SPLITS, Run, SplitRow, record_json, splits_csv

Convert = Callable[..., Result]
Few = Callable[..., None]
FILES = ("tflite_int8", "onnx_fp32", "onnx_int8")  # and tflite_fp32: copies of the Keras model, and two that are not
EACH = 26  # test images of a label: by pairs they decide 10.9 points, the gate asks 5
SAID = "undecided, allowed by --allow-undecided"


@pytest.fixture(scope="module")
def small_test(run: Path, images: tuple[Path, tuple[SplitRow, ...]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The RUN, with EACH test images of each label."""
    folder = Path(shutil.copytree(run, tmp_path_factory.mktemp("runs") / "small"))
    _, rows = images
    test = [row for row in rows if row.split == "test"]
    kept = [row for label in ("neg", "pos") for row in [row for row in test if row.label == label][:EACH]]
    rows = (*(row for row in rows if row.split != "test"), *kept)
    (folder / SPLITS).write_bytes(splits_csv(rows))
    record = msgspec.json.decode((folder / RECORD).read_bytes(), type=Run)
    data = msgspec.structs.replace(record.data, sha256=hashlib.sha256((folder / SPLITS).read_bytes()).hexdigest())
    (folder / RECORD).write_bytes(record_json(msgspec.structs.replace(record, data=data)))
    return folder


@pytest.fixture(scope="module")
def allowed(small_test: Path, make_few: Few, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """What convert makes of it if undecided files are allowed."""
    request = ConvertRequest(
        origin=RunFolder(small_test),
        golden=None,
        gate=with_options(read_gate(), [], None, None, True),
        name="small",
        version="1.0.0",
        licence="not stated",
        intended_use="Tests alone.",
        seed=0,
        allowed_by="--allow-undecided",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("here"))  # no tflite-runtime
        make_few(patch, *FILES)
        return convert_run(request, note=lambda text, *files: None)


def test_defaults_release_the_copies_and_leave_out_by_name_what_is_undecided(
    limiar_convert: Convert, few_files: Few, small_test: Path, tmp_path: Path
) -> None:
    few_files(*FILES)
    result = limiar_convert(small_test, "--out", tmp_path / "out")
    assert result.return_value == 0
    manifest = open_bundle(tmp_path / "out").manifest
    report = json.loads((tmp_path / "out" / "report.json").read_bytes())
    assert report["verdict"] == manifest.verdict == "PASS"
    assert {"tflite_fp32", "onnx_fp32"} <= set(manifest.models) < {file["name"] for file in report["files"]}
    for file in report["files"]:
        in_bundle = file["name"] in manifest.models
        assert (file["verdict"] == "PASS") == in_bundle
        for runtime in file["runtimes"] if in_bundle else ():
            assert {loss["proof"] for loss in runtime["test"]["losses"]} == {"copy"}
    rows = [line for line in result.stdout.splitlines() if line.endswith("undecided, left out")]
    assert [row.split()[0] for row in rows] == [one["name"] for one in report["files"] if one["verdict"] == "INCONCLUSIVE"]
    assert max(map(len, rows)) <= 80
    last = result.stdout.splitlines()[-1]
    assert last.startswith(
        f"PASS: {tmp_path / 'out'} (a device takes {manifest.default_file}; tflite_int8 would be better and is left"
    )
    assert "would decide" in last
    assert b"not_proven" not in (tmp_path / "out" / "manifest.json").read_bytes()


def test_a_required_file_that_is_undecided_refuses_the_bundle_and_says_each_way_out(
    limiar_convert: Convert, few_files: Few, small_test: Path, tmp_path: Path
) -> None:
    few_files(*FILES)
    result = limiar_convert(small_test, "--out", tmp_path / "out", "--require", "tflite_int8")
    assert result.return_value == 3
    ways = [line for line in result.stdout.splitlines() if line.startswith("A way out: ")]
    for word in (
        "more images: about ",
        "--margin: these images decide 10.9 points",
        "require fewer",
        "--allow-undecided:",
    ):
        assert any(way.startswith(f"A way out: {word}") for way in ways), word
    assert "Ways out" in (tmp_path / "out.refused" / "report.html").read_text()


def test_a_margin_that_can_be_decided_needs_no_file(
    limiar_convert: Convert, few_files: Few, small_test: Path, tmp_path: Path
) -> None:
    few_files(*FILES)
    result = limiar_convert(small_test, "--out", tmp_path / "out", "--margin", "0.3", "--require", "tflite_int8")
    assert result.return_value == 0
    assert open_bundle(tmp_path / "out").manifest.provenance.run["gate"] == (
        'required = ["tflite_int8"]; noninferiority.margin = 0.3'
    )


def test_the_verdict_says_everywhere_what_nobody_has_proven(allowed: Converted, tmp_path: Path) -> None:
    report = allowed.report
    undecided = {file.name for file in report.files if file.verdict == "INCONCLUSIVE"}
    assert "tflite_int8" in undecided
    count = len(undecided)
    verdict = f"PASS, {count} {'file' if count == 1 else 'files'} {SAID}"
    assert report.verdict == verdict
    assert list(outcome(report, tmp_path))[-1].startswith(f"{verdict}: {tmp_path} (a device takes ")
    assert json.loads(report_json(report))["verdict"] == verdict
    page = report_html(report, allowed.answers, None).decode()
    assert f'<h1 class="unsure">{verdict}</h1>' in page
    assert f"Verdict: {verdict}." in model_card(report, CARD).decode()
    publish_bundle(tmp_path / "out", allowed, 1, 0, CARD)
    manifest = open_bundle(tmp_path / "out").manifest
    assert manifest.verdict == verdict
    assert manifest.not_proven
    assert set(manifest.not_proven.files) == undecided <= set(manifest.models)
    assert manifest.default_file not in undecided
    shown = CliRunner().invoke(limiar_group, ["inspect", str(tmp_path / "out"), "--file", "tflite_int8"], standalone_mode=False)
    assert verdict in shown.stdout
    assert f"allowed by --allow-undecided: {manifest.not_proven.files['tflite_int8']}" in shown.stdout


def test_the_headline_s_numbers_are_said_of_proven_files_alone(allowed: Converted) -> None:
    report = allowed.report
    proven = [file for file in report.files if file.proven]
    text = reason(report)
    assert text.startswith(f"{len(proven)} of {len(report.files)} model files are proven to answer as Keras does")
    assert all(loss.high < 0.05 for file in proven for result in file.runtimes if result.test for loss in result.test.losses)
    told = text.partition("Nobody has proven ")[2].partition(": undecided")[0]
    assert [part.partition(" (up to ")[0] for part in told.split("), ")] == [file.name for file in report.undecided]
    none = msgspec.structs.replace(report, files=tuple(report.undecided))
    assert reason(none).startswith(f"None of {len(none.files)} model files is proven to answer as Keras does.")


def test_junit_skips_what_is_undecided_with_the_reason(allowed: Converted) -> None:
    suites = ElementTree.fromstring(junit_xml(allowed.report))
    for suite, file in zip(suites, allowed.report.files, strict=True):
        skipped = {case.attrib["name"]: element.attrib["message"] for case in suite for element in case.iter("skipped")}
        open_checks = [finding for finding in file.findings if finding.verdict == "INCONCLUSIVE"]
        assert len(skipped) == len(open_checks)
        assert all(message.endswith("(in the bundle, allowed by --allow-undecided)") for message in skipped.values())
    assert int(suites.attrib["skipped"]) > 0


def test_an_undecided_file_never_ships_under_a_plain_pass(allowed: Converted) -> None:
    manifest = json.loads(bundle_files(allowed, 1, 0, CARD)["manifest.json"])
    assert manifest["not_proven"]["allowed_by"] == "--allow-undecided"
    assert manifest["provenance"]["run"]["gate"] == "inconclusive_passes = true"


def file(name: str, *found: GateFinding) -> FileReport:
    return FileReport(name, "tflite", "fp32", False, "INCONCLUSIVE", found)


def test_a_reason_is_told_once_for_all_runtimes_and_files_that_it_is_true_of(allowed: Converted) -> None:
    runtimes = next(one for one in allowed.report.files if one.format == "tflite").runtimes
    titles = [result.title for result in runtimes]
    alike_everywhere = [GateFinding("recall", title, "INCONCLUSIVE", "recall_cat lost 0.0 points") for title in titles]
    files = [msgspec.structs.replace(file(name, *alike_everywhere), runtimes=runtimes) for name in ("a", "b")]
    other = file("c", *(GateFinding("recall", title, "INCONCLUSIVE", f"lost on {title}") for title in titles[:2]))
    groups = alike([*files, other])
    assert [([one.name for one in group], faults) for group, faults in groups] == [
        (["a", "b"], ["every runtime: recall_cat lost 0.0 points"]),
        (["c"], [f"{titles[0]}, likewise {titles[1]}: lost on {titles[0]}"]),
    ]
