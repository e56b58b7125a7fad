"""`limiar convert --verified`: what another machine checked is taken into the bundle, if the files are exactly the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from limiar.convert.defaults import CARD
from limiar.convert.pipeline import Converted
from limiar.convert.publish.publish import publish_bundle
from limiar.convert.report.elsewhere import read_verified, with_verified
from limiar.convert.run.golden_images import golden_json
from limiar.edge_app.bundle.manifest import Verified
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.cli import limiar
from limiar.edge_app.errors import ConvertError, LimiarError

Convert = Callable[..., Result]
Fields = dict[str, Any]


@pytest.fixture(scope="module")
def printed(bundle: Path) -> Fields:
    """What `limiar verify BUNDLE --json` prints of the converted bundle, as if a Raspberry Pi 4 had."""
    result = CliRunner().invoke(limiar, ["verify", str(bundle), "--json"], standalone_mode=False)
    assert result.return_value == 0, result.output
    return {**json.loads(result.stdout), "machine": "aarch64", "cpu": "Cortex-A72"}


def written(folder: Path, fields: Fields) -> Path:
    path = folder / "pi4.json"
    path.write_text(json.dumps(fields))
    return path


def taken(converted: Converted, *paths: Path) -> Converted:
    golden = golden_json(converted.golden, converted.golden_logits)
    report = with_verified(converted.report, golden, map(read_verified, paths))
    return msgspec.structs.replace(converted, report=report)


def test_what_verify_prints_says_what_was_checked_and_where(bundle: Path, printed: Fields) -> None:
    manifest = open_bundle(bundle).manifest
    files = {file.path: file.sha256 for file in manifest.files}
    assert printed["golden"] == files["golden/golden.json"]
    assert {check["file"]: check["sha256"] for check in printed["checks"]} == {
        name: file.sha256 for name, file in manifest.models.items()
    }
    assert printed["app"].startswith("limiar ")
    assert printed["python"]


def test_what_another_machine_verified_stands_in_manifest_report_and_card(
    converted: Converted, printed: Fields, tmp_path: Path
) -> None:
    publish_bundle(tmp_path / "out", taken(converted, written(tmp_path, printed)), release_counter=1, seed=0, card=CARD)
    opened = open_bundle(tmp_path / "out")
    for check in printed["checks"]:
        model = opened.manifest.models[check["file"]].model
        assert model is not None
        seen = Verified(check["runtime"], check["version"] or "", "aarch64", cpu="Cortex-A72")
        assert (seen in model.verified) is (check["passed"] is True)
    for page in ("report.html", "MODEL_CARD.md"):
        assert "verified on aarch64, Cortex-A72, litert " in opened.read(page).decode()


def test_the_same_machine_is_listed_again_with_its_processor_and_the_same_file_once(
    converted: Converted, printed: Fields, tmp_path: Path
) -> None:
    here = converted.report.files[0].runtimes[0].machine
    path = written(tmp_path, {**printed, "machine": here})
    seen = [
        one for one in taken(converted, path, path).report.files[0].verified if (one.runtime, one.options) == ("litert", "")
    ]
    assert [(one.machine, one.cpu) for one in seen] == [(here, None), (here, "Cortex-A72")]


def test_only_what_was_checked_and_passed_is_taken(converted: Converted, printed: Fields, tmp_path: Path) -> None:
    checks = [{**check, "passed": None} if check["file"] == "tflite_int8" else check for check in printed["checks"]]
    checks = [{**check, "sha256": "0" * 64} if check["file"] == "tflite_fp32" else check for check in checks]
    checks = [{**check, "largest_difference": 9.0} if check["file"] == "tflite_fp16" else check for check in checks]
    other = {"refer_below": 0.5, "threshold": None}
    checks = [{**check, "decision": other} if check["file"] == "onnx_fp32" else check for check in checks]
    report = taken(converted, written(tmp_path, {**printed, "checks": checks})).report
    left = {file.name for file in report.files if not file.elsewhere}
    assert left == {"tflite_int8", "tflite_fp32", "tflite_fp16", "onnx_fp32"}


def failing(fields: Fields) -> None:
    fields["checks"][0] |= {"passed": False}
    fields["passed"] = False


def unopened(fields: Fields) -> None:
    fields |= {"error": "E-BUNDLE-HASH: …", "passed": False, "checks": []}


def other_models(fields: Fields) -> None:
    for check in fields["checks"]:
        check["sha256"] = "0" * 64


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (failing, "E-CONVERT-VERIFIED-FAILED: .*onnx_fp16 on onnxruntime did not pass there"),
        (unopened, "E-CONVERT-VERIFIED-FAILED: .*E-BUNDLE-HASH"),
        (other_models, "E-CONVERT-VERIFIED-OTHER: .*model files"),
        (lambda fields: fields.update(golden="0" * 64), "E-CONVERT-VERIFIED-OTHER: .*golden"),
        (lambda fields: fields.update(extra=1), "E-CONVERT-VERIFIED-FILE: .*unknown field `extra`"),
        (lambda fields: fields["checks"][0].update(extra=1), "E-CONVERT-VERIFIED-FILE: .*unknown field `extra`"),
        (lambda fields: fields.pop("cpu"), "E-CONVERT-VERIFIED-FILE: .*missing required field `cpu`"),
        (lambda fields: fields.update(cpu="<script>"), "E-CONVERT-VERIFIED-FILE"),
        (lambda fields: fields.update(machine="aarch64\n"), "E-CONVERT-VERIFIED-FILE"),
        (lambda fields: fields["checks"][0].update(runtime="other"), "E-CONVERT-VERIFIED-FILE: .*other is not a runtime"),
        (lambda fields: fields.update(name="x" * (4 << 20)), "E-CONVERT-VERIFIED-FILE: .*over 4.* MB, which is the limit"),
    ],
)
def test_what_says_something_else_is_refused(
    change: Callable[[Fields], object], code: str, converted: Converted, printed: Fields, tmp_path: Path
) -> None:
    fields = json.loads(json.dumps(printed))
    change(fields)
    with pytest.raises(ConvertError, match=code):
        taken(converted, written(tmp_path, fields))


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{", b"\xff"])
def test_what_is_not_there_or_no_such_json_is_refused_before_the_work_begins(
    content: bytes | None, limiar_convert: Convert, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "pi4.json").write_bytes(content)
    result = limiar_convert(tmp_path / "no-run", "--out", tmp_path / "out", "--verified", tmp_path / "pi4.json")
    assert isinstance(result.exception, LimiarError)
    assert result.exception.code == "E-CONVERT-VERIFIED-FILE"


def test_a_conversion_says_how_many_entries_it_took_and_repeats(
    limiar_convert: Convert, run: Path, printed: Fields, tmp_path: Path
) -> None:
    words = ["--verified", written(tmp_path, printed), "--verify-repeatable", "--name", "small"]
    result = limiar_convert(run, "--out", tmp_path / "out", *words)
    assert result.return_value == 0, result.exception
    versions = {check["runtime"]: check["version"] for check in printed["checks"]}
    for runtime, count in (("litert", 5), ("onnxruntime", 3)):
        assert f"verified on aarch64, Cortex-A72, {runtime} {versions[runtime]}: {count} model files\n" in result.stdout
    models = open_bundle(tmp_path / "out").manifest.models.values()
    assert all(file.model is not None and file.model.verified[-1].cpu == "Cortex-A72" for file in models)
