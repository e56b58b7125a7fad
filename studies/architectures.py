#!/usr/bin/env python3
"""What would a network cost on a device? Measures int8 files of `compact` with other filters against LeNet's fp32 file.

    studies/architectures.py 12/2-24-32/2-32-40/2-40 16/2-16-32/2-32-48/2-48

A network is given by its filters, with /2 if the convolution halves the sides. Its weights are random, which changes neither
bytes nor time. All files take turns on LiteRT with one thread; a row has the 5th percentile of the times, which other work
on the machine disturbs least, and its ratio to LeNet fp32 in the same run.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from limiar.convert.export.to_tflite import convert_tflite
from limiar.convert.source.keras_model import export_saved_model
from limiar.edge_app.runtimes import Runtime, open_runtime
from limiar.train.config import INPUT
from limiar.train.fit import models

ROUNDS = 300  # in each, every file has its turn
BURST = 20  # invokes of a turn
SEED = 0  # of weights and calibration images


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", type=filters, metavar="NETWORK")
    asked = parser.parse_args().networks
    images = np.random.default_rng(SEED).integers(0, 256, (32, INPUT.height, INPUT.width, INPUT.channels), dtype=np.uint8)
    images[0].flat[:2] = (0, 255)
    files = [("lenet fp32", *made("lenet", (), "fp32", images))]
    files += [(title(network), *made("compact", network, "int8", images)) for network in asked]
    times = measured([open_runtime("litert", data) for _, _, data in files], images[:1])
    print(f"{'network':<30}{'weights':>10}{'bytes':>12}{'us':>8}{'of LeNet fp32':>15}")
    for (name, weights, data), us in zip(files, times, strict=True):
        print(f"{name:<30}{weights:>10,}{len(data):>12,}{us:>8.1f}{us / times[0]:>15.4f}")
    return 0


def filters(text: str) -> tuple[tuple[int, int], ...]:
    """(filters, stride) of each layer: `16/2-24` is ((16, 2), (24, 1))."""
    if not re.fullmatch(r"\d+(/2)?(-\d+(/2)?)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a network: give filters as 16/2-24-32/2")
    return tuple((int(part.partition("/")[0]), 2 if part.endswith("/2") else 1) for part in text.split("-"))


def title(network: tuple[tuple[int, int], ...]) -> str:
    return "-".join(f"{count}/2" if stride == 2 else str(count) for count, stride in network)


def made(name: str, network: tuple[tuple[int, int], ...], precision: str, images: np.ndarray) -> tuple[int, bytes]:
    """The number of weights of a network as it ships, and its TFLite file."""
    random = models.lenet(INPUT, 2, 0.0) if name == "lenet" else models.compact(INPUT, 2, 0.0, network)
    model = models.deployable(random, 1.0)
    with tempfile.TemporaryDirectory() as folder:
        export_saved_model(model, INPUT, Path(folder))
        return model.count_params(), convert_tflite(Path(folder), precision, images)


def measured(runtimes: list[Runtime], image: np.ndarray) -> list[float]:
    """Microseconds an invoke."""
    found = np.empty((len(runtimes), ROUNDS))
    for turn in range(ROUNDS):
        for k, runtime in enumerate(runtimes):
            started = time.perf_counter()
            for _ in range(BURST):
                runtime.logits(image)
            found[k, turn] = (time.perf_counter() - started) / BURST
    return [float(value) for value in np.quantile(found, 0.05, axis=1) * 1e6]


if __name__ == "__main__":
    sys.exit(main())
