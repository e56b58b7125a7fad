"""Runs a model file on one runtime over many tensors, in a separate process. convert judges files by its answers.

    python -m limiar.edge_app.inference.parity RUNTIME OPTIONS MODEL TENSORS.npy LOGITS.npy
    python -m limiar.edge_app.inference.parity RUNTIME OPTIONS MODEL TENSORS.npy VALUES.npz ROW
    python -m limiar.edge_app.inference.parity RUNTIME OPTIONS MODEL TENSORS.npy MAPS.npy maps
    python -m limiar.edge_app.inference.parity RUNTIME OPTIONS MODEL TENSORS.npy ROWS.npy rows

TENSORS.npy is uint8 [N, H, W, C]; LOGITS.npy becomes float32 [N, K]. With ROW, the number of an image, VALUES.npz gets all
outputs of a TFLite file for that image, unchanged. With "maps", MAPS.npy gets the class activation maps, float32 [N, h, w, K].
With "rows", the tensors are blocks of tiles, and ROWS.npy gets the logits of each tile, float32 [N, tiles, K]. OPTIONS is a key
of limiar.edge_app.runtimes.OPTIONS. stdout says what gave the answers, as JSON. A file that crashes its runtime ends only this
process; and tflite-runtime has an environment of its own.
"""

import platform
import sys

import msgspec
import numpy as np

from limiar.edge_app.bundle.manifest import Verified
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.runtimes import OPTIONS, open_runtime
from limiar.edge_app.runtimes.interpreter import InterpreterRuntime


class Seen(msgspec.Struct, frozen=True):
    """What gave the answers."""

    verified: Verified
    python: str  # "3.11.7"
    kernels: str  # Runtime.kernels


def main(runtime_name: str, options: str, model: str, tensors: str, out: str, wanted: str | None = None) -> None:
    asked = OPTIONS[options]
    with open(model, "rb") as file:
        runtime = open_runtime(runtime_name, file.read(), asked.threads, asked.optimised)
    images = np.load(tensors, allow_pickle=False)
    if wanted is None:
        np.save(out, np.stack([runtime.logits(images[i : i + 1]) for i in range(len(images))]), allow_pickle=False)
    elif wanted == "maps":
        found = (runtime.logits_and_map(images[i : i + 1])[1] for i in range(len(images)))
        maps = [class_map for class_map in found if class_map is not None]
        np.save(out, np.stack(maps), allow_pickle=False)
    elif wanted == "rows":
        assert isinstance(runtime, InterpreterRuntime)
        rows = [runtime.rows(images[i : i + 1]) for i in range(len(images))]
        np.save(out, np.stack(rows), allow_pickle=False)
    else:
        assert isinstance(runtime, InterpreterRuntime)
        row = int(wanted)
        np.savez(out, *runtime.outputs(images[row : row + 1]))
    verified = Verified(runtime=runtime.name, version=runtime.version, machine=platform.machine(), options=options)
    sys.stdout.buffer.write(msgspec.json.encode(Seen(verified, platform.python_version(), runtime.kernels)))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except LimiarError as error:
        sys.exit(str(error))
