#!/usr/bin/env python3
"""Does a bundle give the same answers on a processor with AVX2 alone? Prints a table; exit status 1 if it does not.

    tests/harness/avx2_parity.py [models/lung-nodule] [--file onnx_int8] [--cpu Haswell] [--qemu FILE]

Every model file answers the bundle's golden images and some made here, on this processor and on one that QEMU emulates, through
limiar.edge_app.inference.parity and this same Python. The int8 files must agree bit for bit, the others within their tolerance.
Controls: the bundle's fp32 ONNX graph quantized as limiar does it but with 8-bit weights, and as onnxruntime does it by default
(S8S8): both must differ if this processor has VNNI. Without --file, `limiar verify` also runs on the emulated processor.

QEMU is the one that scripts/virtual_pi uses: a Debian package, unpacked into its cache, not installed. Exit status 2: this is
not an x86-64 machine, or QEMU is not available.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import json
import logging
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

# limiar.convert.export.to_onnx switches onnxruntime's telemetry off, which must happen before anything imports onnxruntime.
from limiar.convert.export.to_onnx import quantized  # isort: skip
import numpy as np
import onnx
from onnxruntime.quantization import QuantType

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.inference.golden import golden_tensors
from limiar.edge_app.system.machine import machine
from virtualpi import Unavailable
from virtualpi.qemu import user_mode

MADE = 64  # images in addition to the golden ones
EXACT = ("int8",)  # precisions that must agree bit for bit
VNNI = {"avx512_vnni", "avx_vnni"}  # as in /proc/cpuinfo
CPUID = """
import json, numpy
found = numpy._core._multiarray_umath.__cpu_features__
print(json.dumps(sorted(name for name, there in found.items() if there)))
"""


class Subject(NamedTuple):
    """A model file to compare."""

    name: str
    runtime: str
    model: bytes
    allowed: float  # difference of a logit
    control: bool = False


def main(words: Sequence[str]) -> int:
    asked = arguments(words)
    try:
        if platform.machine() != "x86_64":
            raise Unavailable(f"this is {platform.machine()}: run it on an x86-64 machine")
        qemu = [str(asked.qemu or user_mode("x86_64")), "-cpu", asked.cpu]
    except Unavailable as error:
        print(f"tests/harness/avx2_parity.py: {error}", file=sys.stderr)
        return 2
    bundle = open_bundle(asked.bundle)
    here, emulated = machine(), json.loads(run([*qemu, sys.executable, "-c", CPUID]))
    vnni = bool(VNNI.intersection(here.features))
    print(f"this processor: {here.cpu}; {' '.join(here.features)}")
    print(f"emulated: {asked.cpu}, {run([qemu[0], '--version']).splitlines()[0]}; {' '.join(emulated).lower()}")
    if "AVX2" not in emulated or any(name.startswith("AVX512") for name in emulated):
        print("the emulated processor does not have AVX2 alone: choose another --cpu", file=sys.stderr)
        return 1
    tensors = np.concatenate([golden(bundle), made(bundle)])
    print(f"\n{'model file':<34}{'runtime':<16}{'images':>7}{'differ':>8}{'largest':>11}{'allowed':>9}  outcome")
    failed = [one.name for one in subjects(bundle, asked.files) if not compared(one, tensors, qemu, vnni)]
    if not asked.files:
        command = [*qemu, sys.executable, "-P", "-m", "limiar", "verify", str(asked.bundle)]
        status = subprocess.run(command, capture_output=True, check=False).returncode
        print(f"limiar verify on the emulated processor: exit status {status}")
        failed += ["limiar verify"] * (status != 0)
    print(f"FAIL: {', '.join(failed)}" if failed else "PASS")
    return 1 if failed else 0


def arguments(words: Sequence[str]) -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("bundle", type=Path, nargs="?", default=Path("models/lung-nodule"))
    options.add_argument(
        "--file", dest="files", action="append", metavar="NAME", help="compare this model file; may be repeated (default: all)"
    )
    options.add_argument(
        "--cpu", default="Haswell", help="the processor, one of `qemu-x86_64 -cpu help` (default: %(default)s)"
    )
    options.add_argument("--qemu", type=Path, metavar="FILE", help="use this qemu-x86_64")
    return options.parse_args(words)


def subjects(bundle: Bundle, files: Sequence[str] | None) -> Iterator[Subject]:
    """The bundle's files, then the controls, which are made from its onnx_fp32."""
    for name in files or bundle.manifest.models:
        model, data = bundle.model(name)
        allowed = 0.0 if model.precision in EXACT else model.tolerance.same_runtime
        yield Subject(name, model.expected_runtime, data, allowed)
    fp32 = onnx.load_from_string(bundle.model("onnx_fp32")[1])
    calibration = golden(bundle)
    kinds = {"8-bit weights": QuantType.QUInt8, "S8S8": QuantType.QInt8}
    logging.disable(logging.WARNING)  # the quantizer's advice does not apply: convert has preprocessed the graph
    for name, activations in kinds.items():
        data = quantized(onnx.load_from_string(fp32.SerializeToString()), calibration, activations, reduce_range=False)
        yield Subject(f"control: onnx_int8, {name}", "onnxruntime", data.SerializeToString(), 0.0, control=True)


def golden(bundle: Bundle) -> Pixels:
    """The golden images, uint8 [N, H, W, C]."""
    return np.concatenate([tensor for tensor in golden_tensors(bundle).tensors if tensor is not None])


def made(bundle: Bundle) -> Pixels:
    """Noise, and coarse black and white noise, which gives the largest sums that a layer can meet."""
    spec, rng = bundle.manifest.input, np.random.default_rng(0)
    noise = rng.integers(0, 256, (MADE // 2, spec.height, spec.width, spec.channels), np.uint8)
    coarse = rng.integers(0, 2, (MADE // 2, spec.height // 5 + 1, spec.width // 5 + 1, spec.channels), np.uint8) * 255
    return np.concatenate([noise, coarse.repeat(5, 1).repeat(5, 2)[:, : spec.height, : spec.width]])


def compared(one: Subject, tensors: Pixels, qemu: Sequence[str], vnni: bool) -> bool:
    """Prints a row. Returns whether the result is as it must be."""
    with tempfile.TemporaryDirectory() as folder:
        here, there = (answers(one, tensors, Path(folder), prefix) for prefix in ([], qemu))
    differences = np.abs(here.astype(np.float64) - there).max(axis=1)
    differ, largest = int((differences > 0).sum()), float(differences.max())
    if not one.control:
        good = largest <= one.allowed
        outcome = ("the same" if differ == 0 else "within the tolerance") if good else "DIFFERS"
    else:
        good = differ > 0 or not vnni
        outcome = "differs, as it must" if differ else "THE SAME" if vnni else "no control: this processor has no VNNI"
    allowed = "" if one.control else f"{one.allowed:g}"
    print(f"{one.name:<34}{one.runtime:<16}{len(tensors):>7}{differ:>8}{largest:>11.2g}{allowed:>9}  {outcome}", flush=True)
    return good


def answers(one: Subject, tensors: Pixels, folder: Path, prefix: Sequence[str]) -> np.ndarray:
    """Logits, float32 [N, K], from a separate process whose command begins with `prefix`."""
    model, given, logits = folder / "model", folder / "tensors.npy", folder / "logits.npy"
    model.write_bytes(one.model)
    np.save(given, tensors)
    run(
        [
            *prefix,
            sys.executable,
            "-P",
            "-m",
            "limiar.edge_app.inference.parity",
            one.runtime,
            "",
            str(model),
            str(given),
            str(logits),
        ]
    )
    found: np.ndarray = np.load(logits)
    return found


def run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
