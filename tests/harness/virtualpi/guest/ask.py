"""Prints what a Python with limiar answers, and with which libraries: `ask.py BUNDLE OUT.npz RUNTIME,... FILE,...`.

The same file runs on the desktop and on a device. OUT.npz gets the golden images' tensors, uint8 [N, H, W, C], and for
each model file and runtime the logits, float32 [N, K]; stdout gets the facts as JSON. A runtime's messages stay on stderr.
"""

import importlib
import json
import os
import re
import sys
from pathlib import Path

import numpy as np

from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.inference.golden import golden_tensors
from limiar.edge_app.runtimes import RUNTIMES, open_runtime

PACKAGES = {"litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime", "onnxruntime": "onnxruntime"}


def main(path: str, out: str, runtimes: str, files: str) -> None:
    bundle = open_bundle(path)
    tensors = [tensor for tensor in golden_tensors(bundle).tensors if tensor is not None]
    answers, versions, kernels, steps = {}, {}, {}, {}
    for name in files.split(","):
        model, data = bundle.model(name)
        for runtime in runtimes.split(","):
            if RUNTIMES[runtime].format != model.format:
                continue
            if model.format == "tflite":
                # limiar hides the message of the fast kernels, which a process prints only once: so this prints it first.
                interpreter = importlib.import_module(f"{PACKAGES[runtime]}.interpreter")
                heard = interpreter.Interpreter(model_content=data)
                heard.allocate_tensors()
                steps[f"{name} {runtime}"] = float(heard.get_output_details()[0]["quantization"][0])
            opened = open_runtime(runtime, data)
            versions[runtime], kernels[f"{name} {runtime}"] = opened.version, opened.kernels
            answers[f"{name} {runtime}"] = np.stack([opened.logits(tensor) for tensor in tensors])
    np.savez(out, **{"tensors": np.concatenate(tensors), **answers})  # type: ignore[arg-type]  # numpy's stubs know no **
    facts = {
        "loaded": {path: elf_machine(path) for path in loaded()},
        "machines": elf_machines(),
        "runtimes": versions,
        "kernels": kernels,
        "steps": steps,
    }
    print(json.dumps(facts))


def loaded() -> list[str]:
    """The libraries that this process has mapped."""
    mapped = re.findall(r"(/\S+\.so[\d.]*)$", Path("/proc/self/maps").read_text(), re.MULTILINE)
    return sorted(set(mapped))


def elf_machines() -> dict[str, list[str]]:
    """ELF machine -> how many of the libraries that this Python can find have it, and three of them."""
    found: dict[int, list[str]] = {}
    folders = [*os.environ.get("PYTHONPATH", "").split(":"), "/lib", "/usr/lib", "/usr/local/lib"]
    for folder in filter(None, folders):
        for path in Path(folder).rglob("*.so*"):
            if path.is_file() and (kind := elf_machine(str(path))):
                found.setdefault(kind, []).append(str(path))
    return {str(kind): [str(len(paths)), *sorted(paths)[:3]] for kind, paths in found.items()}


def elf_machine(path: str) -> int:
    """e_machine of an ELF file (183 is AArch64, 62 x86-64, as in elf.h); 0: it is not an ELF file."""
    with open(path, "rb") as file:
        head = file.read(20)
    return int.from_bytes(head[18:20], "little") if head[:4] == b"\x7fELF" else 0


if __name__ == "__main__":
    main(*sys.argv[1:])
