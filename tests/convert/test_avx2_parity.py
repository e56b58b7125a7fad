"""The ONNX int8 file on a processor with AVX2 alone, which QEMU emulates: the same answers as here, bit for bit."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import avx2_parity
from limiar.convert.export.to_onnx import quantized
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.inference.golden import golden_tensors
from limiar.edge_app.system.machine import machine
from virtualpi.qemu import user_mode

VNNI = bool({"avx512_vnni", "avx_vnni"}.intersection(machine().features))


@pytest.fixture(scope="module")
def said(project: Path) -> str:
    """What the script prints about the reference bundle's ONNX int8 file."""
    command = [sys.executable, project / "tests" / "harness" / "avx2_parity.py", project / "models" / "lung-nodule"]
    done = subprocess.run([*command, "--file", "onnx_int8"], capture_output=True, text=True)
    if done.returncode == 2 and os.environ.get("LIMIAR_REQUIRE_DATA") != "1":
        pytest.skip(done.stderr.strip())
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


def test_the_emulated_processor_has_avx2_and_neither_avx_512_nor_vnni(said: str) -> None:
    (line,) = re.findall(r"^emulated: .*$", said, re.MULTILINE)
    assert " avx2 " in line
    assert "avx512" not in line
    assert "vnni" not in line


def test_the_onnx_int8_file_answers_there_as_here(said: str) -> None:
    assert re.search(r"^onnx_int8 +onnxruntime +136 +0 +0 +0  the same$", said, re.MULTILINE)
    assert said.endswith("PASS\n")


@pytest.mark.parametrize("control", ["8-bit weights", "S8S8"])
def test_without_the_7_bit_weights_it_would_not(said: str, control: str) -> None:
    """The control: the emulated processor does saturate."""
    (outcome,) = re.findall(rf"^control: onnx_int8, {control} .*  (\S.*)$", said, re.MULTILINE)
    assert outcome == ("differs, as it must" if VNNI else "no control: this processor has no VNNI")


@pytest.mark.skipif(not VNNI, reason="this processor has no VNNI: it saturates as the emulated one does")
def test_a_file_that_answers_otherwise_there_fails(said: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = open_bundle(project / "models" / "lung-nodule")
    tensors = np.concatenate(golden_tensors(bundle).tensors)[:16]
    model = quantized(onnx.load_from_string(bundle.model("onnx_fp32")[1]), tensors, reduce_range=False)
    qemu = [str(user_mode("x86_64")), "-cpu", "Haswell"]
    subject = avx2_parity.Subject("onnx_int8", "onnxruntime", model.SerializeToString(), 0.0)
    assert not avx2_parity.compared(subject, tensors, qemu, vnni=True)
    assert capsys.readouterr().out.endswith("DIFFERS\n")
