"""A model file on one runtime over many tensors, in a process of its own; how convert judges what will run on the device.

    python -m edge_app.parity RUNTIME MODEL TENSORS.npy LOGITS.npy

TENSORS.npy is uint8 [N, H, W, C]; LOGITS.npy becomes float32 [N, K]; stdout says where they came from, as JSON. A file that
crashes its runtime takes this process alone with it, and tflite-runtime lives in an environment of its own.
"""

import platform
import sys

import msgspec
import numpy as np

from edge_app.bundle import Verified
from edge_app.errors import LimiarError
from edge_app.runtimes import open_runtime


def main(runtime_name: str, model: str, tensors: str, logits: str) -> None:
    with open(model, "rb") as file:
        runtime = open_runtime(runtime_name, file.read())
    images = np.load(tensors, allow_pickle=False)
    np.save(logits, np.stack([runtime.logits(images[i : i + 1]) for i in range(len(images))]), allow_pickle=False)
    seen = Verified(runtime=runtime.name, version=runtime.version, machine=platform.machine())
    sys.stdout.buffer.write(msgspec.json.encode(seen))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except LimiarError as error:
        sys.exit(str(error))
