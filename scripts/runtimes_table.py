"""Prints what `limiar convert` would run a file on here: each runtime's Python, version and kernels. For scripts/runtimes."""

import sys
from pathlib import Path

import numpy as np

from limiar.convert.run.evaluate import Bench, RuntimeFailure, find_environments
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.runtimes import RUNTIMES

BUNDLE = Path(__file__).resolve().parents[1] / "models" / "lung-nodule"
FILES = {"tflite": "tflite_fp32", "onnx": "onnx_fp32"}  # format -> the model file that a runtime is tried with


def main() -> int:
    bundle = open_bundle(BUNDLE)
    spec = bundle.manifest.input
    environments, not_checked = find_environments()
    failed = bool(not_checked)
    print(f"{'runtime':<40}{'version':<10}{'Python':<9}{'loaded':<13}computed by")
    with Bench(np.zeros((1, spec.height, spec.width, spec.channels), np.uint8)) as bench:
        for environment in environments:
            name = FILES[RUNTIMES[environment.runtime].format]
            try:
                seen = bench.answers(environment, name, bundle.model(name)[1]).seen
            except RuntimeFailure as failure:
                print(f"{environment.title:<40}{failure}")
                failed = True
                continue
            print(f"{environment.title:<40}{seen.verified.version:<10}{seen.python:<9}{name:<13}{seen.kernels}")
    for line in not_checked:
        print(line)
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LimiarError as error:
        sys.exit(str(error))
