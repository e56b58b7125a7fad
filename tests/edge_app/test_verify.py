"""`limiar verify`: the device answers as the desktop did, bit for bit where that is possible."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from limiar.edge_app.bundle.manifest import GOLDEN, MANIFEST
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.inference.golden import Golden, check_golden, golden_tensors
from limiar.edge_app.runtimes import RUNTIMES, installed_runtimes, open_runtime

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]


def verified(limiar: Limiar, bundle: Path) -> tuple[int, dict[str, Any]]:
    done = limiar("verify", bundle, "--json")
    assert b"Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def rewritten(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes golden.json and lists the new file in the manifest, as anyone who can write the bundle could."""
    opened = open_bundle(bundle)
    contents = {file.path: opened.read(file.path) for file in opened.manifest.files}
    golden = json.loads(contents[GOLDEN])
    change(golden)
    contents[GOLDEN] = json.dumps(golden).encode()
    files = tuple(
        msgspec.structs.replace(file, bytes=len(contents[file.path]), sha256=hashlib.sha256(contents[file.path]).hexdigest())
        for file in opened.manifest.files
    )
    write_bundle(bundle, msgspec.structs.replace(opened.manifest, files=files), contents)


def test_a_whole_bundle_passes_on_every_runtime_that_is_installed(tiny_path: Path, limiar: Limiar) -> None:
    status, found = verified(limiar, tiny_path)
    assert (status, found["passed"], found["signature"], found["error"]) == (0, True, "not checked", "")
    installed = {runtime.name for runtime in installed_runtimes()}
    for check in found["checks"]:
        assert check["passed"] is (True if check["runtime"] in installed else None), check
        if check["file"] == "tflite_int8" and check["runtime"] == "litert":
            assert check["largest_difference"] == 0.0
    assert {check["file"] for check in found["checks"]} == {"tflite_int8", "tflite_fp32", "onnx_fp32"}


def test_a_person_gets_a_table_that_says_what_was_not_checked(tiny_path: Path, limiar: Limiar) -> None:
    done = limiar("verify", tiny_path)
    assert done.returncode == 0
    assert b"signature: not checked" in done.stdout
    assert done.stdout.rstrip().endswith(b"PASS")


def test_a_damaged_file_does_not_pass(tiny_copy: Path, limiar: Limiar) -> None:
    model = tiny_copy / "tflite_int8.tflite"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    status, found = verified(limiar, tiny_copy)
    assert status == 3
    assert "E-BUNDLE-HASH" in found["error"]


def swapped(golden: dict[str, Any]) -> None:
    golden["images"][0]["tensor_sha256"] = "0" * 64


def moved(golden: dict[str, Any]) -> None:
    golden["logits"]["tflite_int8"][0][0] += 1.0


def flipped(golden: dict[str, Any]) -> None:
    golden["logits"]["tflite_fp32"][0] = [20.0, -20.0]
    golden["logits"]["tflite_fp32"][1] = [-20.0, 20.0]


def left_out(golden: dict[str, Any]) -> None:
    del golden["logits"]["tflite_int8"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (swapped, "model inputs differ"),
        (moved, "outside the tolerance"),
        (flipped, "decisions differ"),
        (left_out, "E-BUNDLE-GOLDEN"),
    ],
)
def test_other_answers_than_the_recorded_ones_do_not_pass(
    tiny_copy: Path, limiar: Limiar, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    rewritten(tiny_copy, change)
    status, found = verified(limiar, tiny_copy)
    assert (status, found["passed"]) == (3, False)
    assert any(said in check["message"] for check in found["checks"]), found


def test_a_bundle_without_golden_images_does_not_pass(tiny_copy: Path, limiar: Limiar) -> None:
    manifest = json.loads((tiny_copy / MANIFEST).read_bytes())
    manifest["files"] = [file for file in manifest["files"] if file["path"] != GOLDEN]
    (tiny_copy / GOLDEN).unlink()
    (tiny_copy / MANIFEST).write_text(json.dumps(manifest))
    status, found = verified(limiar, tiny_copy)
    assert status == 3
    assert GOLDEN in found["error"]


@pytest.mark.parametrize("runtime", [name for name, kind in RUNTIMES.items() if kind.format == "tflite"])
def test_the_committed_reference_bundle_gives_its_golden_answers(project: Path, runtime: str) -> None:
    if runtime not in {found.name for found in installed_runtimes()}:
        pytest.skip(f"{runtime} is not installed in this environment")
    bundle = open_bundle(project / "models" / "lung-nodule")
    tensors = golden_tensors(bundle)
    assert len(tensors.golden.images) >= 64
    coloured = [tensor for tensor in tensors.tensors if tensor is not None and (tensor[..., 0] != tensor[..., 2]).any()]
    assert len(coloured) >= 16
    for file in bundle.manifest.models.values():
        assert file.model
        if file.model.format == "tflite":
            result = check_golden(
                tensors, bundle.manifest.labels, file.model, open_runtime(runtime, bundle.model(file.model.name)[1])
            )
            assert result.passed, result


def test_swapped_channels_do_not_pass(tiny_bundle: Bundle) -> None:
    """The control: tensors and logits both show a decoder that confuses red and blue."""
    tensors = golden_tensors(tiny_bundle)
    swapped = tuple(tensor if tensor is None else tensor[..., ::-1].copy() for tensor in tensors.tensors)
    golden: Golden = tensors.golden
    file, model = tiny_bundle.model("tflite_fp32")
    result = check_golden(
        msgspec.structs.replace(tensors, golden=golden, tensors=swapped),
        tiny_bundle.manifest.labels,
        file,
        open_runtime("litert", model),
    )
    assert not result.passed
