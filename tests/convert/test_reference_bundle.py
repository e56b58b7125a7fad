"""models/lung-nodule: converted again from its RUN, byte for byte, and what it promises."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from limiar.convert.run.evaluate import TFLITE_PYTHON
from limiar.edge_app.bundle.open import Bundle, open_bundle

Convert = Callable[..., Result]


@pytest.fixture(scope="module")
def reference(project: Path) -> Bundle:
    return open_bundle(project / "models" / "lung-nodule")


def test_the_committed_run_gives_the_committed_bundle(
    reference: Bundle,
    limiar_convert: Convert,
    project: Path,
    lung: Path,
    tflite_python: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(TFLITE_PYTHON, tflite_python)
    manifest, out = reference.manifest, tmp_path / "lung-nodule"
    words = ["--version", manifest.version, "--release-counter", str(manifest.release_counter), "--licence", manifest.licence]
    words += ["--intended-use", manifest.intended_use, "--card", project / "models" / "lung-nodule.card.md", "--no-thumbnails"]
    words += ["--refer-below", "0.95", "--cam"]
    verified = sorted((project / "models" / "lung-nodule.verified").glob("*.json"))
    words += [word for path in verified for word in ("--verified", path)]
    result = limiar_convert(project / "models" / "lung-nodule.run", "--data", lung, "--out", out, *words)
    assert result.return_value == 0, result.exception or result.output
    made = {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
    assert made == {path.relative_to(reference.path) for path in reference.path.rglob("*") if path.is_file()}
    differing = [str(path) for path in sorted(made) if (out / path).read_bytes() != (reference.path / path).read_bytes()]
    assert differing == []


def test_it_is_small_enough_to_be_carried(reference: Bundle, project: Path) -> None:
    sizes = {name: file.bytes for name, file in reference.manifest.models.items()}
    assert sizes["tflite_int8"] <= 65_536
    assert sum(path.stat().st_size for path in reference.path.rglob("*") if path.is_file()) < 1_500_000
    assert sum(path.stat().st_size for path in (project / "models" / "lung-nodule.run").iterdir()) < 450_000


def test_its_default_file_is_the_integer_one_and_good_on_all_437_test_patches(reference: Bundle) -> None:
    file, _ = reference.model()
    assert file.name == "tflite_int8"
    assert file.metrics["accuracy"].n == 437
    assert file.metrics["auc"].value >= 0.98
    assert file.metrics["accuracy"].value >= 0.92


def test_every_tflite_file_was_run_under_tflite_runtime_too(reference: Bundle) -> None:
    for file in reference.manifest.models.values():
        assert file.model is not None
        if file.model.format == "tflite":
            assert {"litert", "tflite-runtime"} == {seen.runtime for seen in file.model.verified}


def test_every_file_was_run_on_an_emulated_raspberry_pi_too(reference: Bundle) -> None:
    """By `scripts/virtual_pi user`, with the aarch64 wheels."""
    for file in reference.manifest.models.values():
        assert file.model is not None
        there = {seen.runtime for seen in file.model.verified if (seen.machine, seen.cpu) == ("aarch64", "Cortex-A72")}
        assert there == ({"litert", "tflite-runtime"} if file.model.format == "tflite" else {"onnxruntime"})


def test_it_says_that_it_is_not_for_diagnosis_and_whose_images_it_was_trained_on(reference: Bundle) -> None:
    card = reference.read("MODEL_CARD.md").decode()
    for words in ("not for diagnosis", "LUNA16", "CC BY 4.0", "LIDC-IDRI", "CC BY 3.0", "Swetha Subramanian", "Known flaws"):
        assert words in card
    assert "not for diagnosis" in reference.read("report.html").decode()
    assert "not for diagnosis" in reference.manifest.intended_use
