"""A model file with the right hash but the wrong model in it: it harms no command, and no image is blamed."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from msgspec import structs

from limiar.edge_app.bundle.manifest import GOLDEN
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.errors import ModelUnfit
from limiar.edge_app.inference import checking, child, verify
from limiar.edge_app.inference.model import Model
from limiar.edge_app.inference.session import Session
from limiar.edge_app.runtimes import installed_runtimes
from limiar.edge_app.scan import pool
from limiar.edge_app.scan.fork import fork_worker
from limiar.edge_app.scan.messages import Job
from limiar.edge_app.system.children import fork_child

WRONG = Path(__file__).parent / "data" / "wrong"
Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]
# What is in the place of a model file, and the words that say so. "garbage": bytes that no runtime takes.
MET = {
    "three_outputs": b"gives 3 numbers for 2 labels",
    "other_size": b"does not take 40x40x3 pixels",
    "two_inputs": b"takes 2 inputs, not one image",
    "text_input": b"does not take 40x40x3 pixels",
    "not_a_number": b"gives NaN or infinity",
    "no_input": b"takes 0 inputs, not one image",
    "no_output": b"has no output",
    "grid_output": b"gives an array of 1x2 instead of a number for each label",
    "weights_elsewhere": b"E-RUNTIME-LOAD",  # looked for in no folder
    "garbage": b"",  # LiteRT and ONNX Runtime refuse it; tflite-runtime may end its process over it
}
TFLITE = ("three_outputs", "other_size", "two_inputs", "no_input", "no_output", "garbage")
PLACES = {"tflite": ("tflite_fp32", *TFLITE), "onnx": ("onnx_fp32", *(what for what in MET if what != "no_output"))}
CASES = [(kind, file, what) for kind, (file, *whats) in PLACES.items() for what in whats]


def with_model(path: Path, source: Bundle, file: str, data: bytes) -> Path:
    """A copy of the bundle with other bytes for one model file, listed as they are."""
    listed = source.manifest.models[file]
    contents = {one.path: source.read(one.path) for one in source.manifest.files} | {listed.path: data}
    files = tuple(
        msgspec.structs.replace(one, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()) if one is listed else one
        for one in source.manifest.files
    )
    write_bundle(path, msgspec.structs.replace(source.manifest, files=files), contents)
    return path


def wrong(kind: str, what: str) -> bytes:
    return b"TFL3" * 100 if what == "garbage" else (WRONG / f"{what}.{kind}").read_bytes()


def needs(kind: str) -> None:
    if not installed_runtimes(kind):
        pytest.skip(f"no runtime of this install reads {kind} files")


@pytest.mark.parametrize(("kind", "file", "what"), CASES)
def test_scan_tries_a_model_before_the_first_image_and_names_it(
    tmp_path: Path, tiny_bundle: Bundle, images: Path, limiar: Limiar, kind: str, file: str, what: str
) -> None:
    needs(kind)
    bundle = with_model(tmp_path / "bundle", tiny_bundle, file, wrong(kind, what))
    done = limiar("scan", bundle, images, "--file", file)
    assert done.returncode == 3
    assert done.stdout == b""
    (line,) = done.stderr.splitlines()
    assert line.startswith(b"E-RUNTIME-")
    assert file.encode() in line
    assert MET[what] in line


@pytest.mark.parametrize(("kind", "file", "what"), CASES)
def test_verify_fails_that_model_file_and_passes_the_others(
    tmp_path: Path, tiny_bundle: Bundle, limiar: Limiar, kind: str, file: str, what: str
) -> None:
    needs(kind)
    bundle = with_model(tmp_path / "bundle", tiny_bundle, file, wrong(kind, what))
    done = limiar("verify", bundle, "--json")
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr
    for check in json.loads(done.stdout)["checks"]:
        if check["passed"] is not None:
            assert check["passed"] == (check["file"] != file), check
            assert check["passed"] or MET[what].decode() in check["message"]


@pytest.mark.parametrize("command", [["explain", "IMAGE", "--out", "why.png"], ["camera", "video:none.mp4"]])
def test_a_command_that_loads_the_model_itself_tries_it_in_a_process_of_its_own_first(
    tmp_path: Path, mapped_path: Path, tiny_bundle: Bundle, images: Path, limiar: Limiar, command: list[str]
) -> None:
    source = open_bundle(mapped_path) if command[0] == "explain" else tiny_bundle
    bundle = with_model(tmp_path / "bundle", source, "tflite_fp32", wrong("tflite", "three_outputs"))
    rest = [str(next(images.iterdir())) if word == "IMAGE" else word for word in command[1:]]
    done = limiar(command[0], bundle, *rest, "--file", "tflite_fp32", cwd=tmp_path)
    assert done.returncode == 3
    assert MET["three_outputs"] in done.stderr


def test_bench_leaves_it_out_with_the_reason(tmp_path: Path, tiny_bundle: Bundle, quick_bench: Limiar) -> None:
    bundle = with_model(tmp_path / "bundle", tiny_bundle, "tflite_fp32", wrong("tflite", "three_outputs"))
    done = quick_bench(bundle, "--file", "tflite_fp32,tflite_int8", "--runtime", installed_runtimes("tflite")[0].name,
                  "--count", "20", "--json", "-")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (left_out,) = json.loads(done.stdout)["skipped"]
    assert left_out["file"] == "tflite_fp32"
    assert MET["three_outputs"].decode() in left_out["message"]


def test_weights_of_a_model_come_from_the_bundle_alone(
    tmp_path: Path, tiny_bundle: Bundle, images: Path, limiar: Limiar
) -> None:
    needs("onnx")
    bundle = with_model(tmp_path / "bundle", tiny_bundle, "onnx_fp32", wrong("onnx", "weights_elsewhere"))
    for place in (tmp_path, bundle.parent):
        (place / "weights.bin").write_bytes(bytes(24))
    done = limiar("scan", bundle, images, "--file", "onnx_fp32", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.startswith(b"E-RUNTIME-LOAD: onnx_fp32: ")


@pytest.mark.parametrize("command", ["scan", "verify", "bench", "camera"])
def test_a_model_that_fails_over_a_later_image_is_named_and_no_image_is_blamed(
    tmp_path: Path, tiny_bundle: Bundle, images: Path, limiar: Limiar, command: str
) -> None:
    needs("onnx")
    bundle = with_model(tmp_path / "bundle", tiny_bundle, "onnx_fp32", wrong("onnx", "one_image_alone"))
    video = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 64))
    video.write(np.random.default_rng(0).integers(100, 256, (64, 64, 3), dtype=np.uint8))
    video.release()
    words = {
        "scan": (images, "--file", "onnx_fp32"),
        "verify": (),
        "bench": ("--file", "onnx_fp32", "--count", "20"),
        "camera": (f"video:{tmp_path / 'v.avi'}", "--file", "onnx_fp32"),
    }
    done = limiar(command, bundle, *words[command])
    assert b"Traceback" not in done.stderr
    assert b"took one image and fails over another" in done.stdout + done.stderr
    assert done.returncode == (1 if command == "bench" else 3), done.stderr


def test_bench_measures_with_its_own_picture_where_no_golden_image_can_be_read(
    tmp_path: Path, tiny_bundle: Bundle, quick_bench: Limiar
) -> None:
    contents = {file.path: tiny_bundle.read(file.path) for file in tiny_bundle.manifest.files}
    contents = {path: b"none" if path.startswith("golden/") and path != GOLDEN else data for path, data in contents.items()}
    files = tuple(
        msgspec.structs.replace(one, bytes=len(contents[one.path]), sha256=hashlib.sha256(contents[one.path]).hexdigest())
        for one in tiny_bundle.manifest.files
    )
    write_bundle(tmp_path / "bundle", msgspec.structs.replace(tiny_bundle.manifest, files=files), contents)
    done = quick_bench(tmp_path / "bundle", "--file", "tflite_int8", "--count", "20", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["inputs"] == 1


def test_a_model_that_never_ends_is_given_up_by_scan(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("onnx")
    monkeypatch.setattr(pool, "_START_S", 1.0)  # 60 for a slow card
    with pool.Workers([fork_worker()]) as workers, pytest.raises(ModelUnfit, match=r"E-RUNTIME-START: onnx_fp32: .*over 1 s"):
        workers.start(Job(endless(tiny_bundle), follow=False, annotate=None))


def test_a_model_that_never_ends_is_given_up_before_this_process_loads_it(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("onnx")
    monkeypatch.setattr(child, "START_S", 1.0)
    with pytest.raises(ModelUnfit, match=r"E-RUNTIME-START: onnx_fp32: trying it took over 1 s: "):
        child.try_model(endless(tiny_bundle))


def endless(bundle: Bundle) -> Model:
    model = Session(bundle, file="onnx_fp32").model
    return structs.replace(model, data=wrong("onnx", "endless"))


def test_a_model_that_never_ends_fails_verify_and_the_next_file_passes(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("onnx")
    monkeypatch.setattr(verify, "START_S", 5.0)
    bundle = with_model(tmp_path / "bundle", tiny_bundle, "onnx_fp32", wrong("onnx", "endless"))
    found = {check.file: check for check in verify.verify(bundle).checks if check.passed is not None}
    assert (found["onnx_fp32"].passed, found["tflite_int8"].passed, found["tflite_fp32"].passed) == (False, True, True)
    assert "E-RUNTIME-START: it took over 5 s" in found["onnx_fp32"].message


def test_a_model_that_ends_its_process_fails_verify_and_the_next_file_passes(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real file would crash only one version of a runtime, so here the loading of one file ends its process."""
    real = checking.open_runtime
    crashing = Path(tiny_path / "tflite_fp32.tflite").read_bytes()

    def load(name: str, model: bytes) -> object:
        if model == crashing:
            os.kill(os.getpid(), 11)
        return real(name, model)

    monkeypatch.setattr(checking, "open_runtime", load)
    monkeypatch.setattr(verify, "start_child", fork_child)  # a new Python would not know of it
    found = {check.file: check for check in verify.verify(tiny_path).checks if check.passed is not None}
    assert (found["tflite_fp32"].passed, found["tflite_int8"].passed) == (False, True)
    assert "it ended its process with -11" in found["tflite_fp32"].message


def test_bench_runs_no_other_bundle_than_the_one_that_was_checked(tiny_path: Path, tmp_path: Path) -> None:
    """Between the check and the start of a process, another bundle may be put there."""
    command = [
        "limiar.edge_app.bench.start",
        tiny_path,
        "0" * 64,
        "tflite_int8",
        installed_runtimes("tflite")[0].name,
        "1",
        "0",
    ]
    done = subprocess.run(
        [sys.executable, "-P", "-m", *map(str, command)], input=b"", capture_output=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stderr) == (1, b"another bundle is there now\n")
