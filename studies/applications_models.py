#!/usr/bin/env python3
"""Does conversion work for networks that limiar did not design? Prints a table; exit status 1 if it does not.

    studies/applications_models.py [NAME...]

Four networks of keras.applications with random weights, 96x96 pixels and four labels of generated images, each converted as
`limiar convert --model` does, on every runtime installed here. Every file that can be made must load on every runtime of its
format, and the float files must agree with Keras; a file that cannot be made must come with the converter's reason. The loss of
int8 in an untrained network is shown, but does not count.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from limiar.convert.gate.file_report import FileReport
from limiar.convert.gate.gate import RuntimeResult
from limiar.convert.gate.gate_file import read_gate
from limiar.convert.pipeline import Converted, ConvertRequest, convert_run
from limiar.convert.run.predictions import KERAS
from limiar.convert.source.frameworks import keras
from limiar.convert.source.origin import KerasFile, Scaling
from limiar.convert.steps import Steps
from limiar.edge_app.errors import LimiarError

SIDE_PX = 96
LABELS = ("blobs", "columns", "noise", "rows")
EACH = 40  # images of a label
SPREAD = 4.0  # the last layer is fitted to give logits of plus and minus this
AGREES = {"fp32": 1e-4, "fp16": 2e-2}  # largest difference of a logit, as a share of the largest logit
# How these two networks expect their pixels; the other two scale them inside.
SCALING = {"MobileNetV2": Scaling((1 / 127.5,), (1.0,)), "ResNet50": Scaling(mean=(123.68, 116.779, 103.939))}
NAMES = ("MobileNetV2", "MobileNetV3Small", "EfficientNetV2B0", "ResNet50")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=f"default: {' '.join(NAMES)}")
    asked = options.parse_args()
    wrong = 0
    print(f"{'model':<18}{'file':<16}{'outcome':<14}largest difference of a logit / largest logit, or the reason")
    with tempfile.TemporaryDirectory(prefix="limiar-") as folder, Steps() as steps:
        data = Path(folder, "images")
        write_images(data, np.random.default_rng(0))
        for name in asked.names:
            try:
                converted = converted_model(name, data, Path(folder), steps)
            except LimiarError as error:
                print(f"{name:<18}{'':<16}{'ERROR':<14}{error}")
                wrong += 1
                continue
            steps.note("")
            largest = float(np.abs(converted.answers.logits[KERAS]).max())
            for file in converted.report.files:
                holds, told = outcome(file, largest)
                wrong += not holds
                print(f"{name:<18}{file.name:<16}{file.verdict if holds else 'WRONG':<14}{told}", flush=True)
            for line in converted.report.not_checked:
                print(f"{name:<18}{line}")
    print(f"{wrong} files or models wrong")
    return 1 if wrong else 0


def outcome(file: FileReport, largest: float) -> tuple[bool, str]:
    """Whether a file meets the rules above, and what to say about it."""
    if file.verdict == "LEFT OUT":
        reason = file.findings[0].message
        return reason.startswith(("E-CONVERT-TFLITE", "E-CONVERT-ONNX", "E-CONVERT-FLOAT")), reason[:110]
    limit = AGREES.get(file.precision)
    differences = [difference(result, largest) for result in file.runtimes]
    loads = all(value is not None for value in differences)
    agrees = limit is None or all(value is not None and value <= limit for value in differences)
    told = [f"{result.title} {result.error or 'gives NaN'}" for result in file.runtimes if difference(result, largest) is None]
    for runtime in dict.fromkeys(result.runtime for result in file.runtimes):
        ways = [difference(result, largest) for result in file.runtimes if result.runtime == runtime]
        if found := [value for value in ways if value is not None]:
            told.append(f"{runtime} {max(found):.1e}")  # the variant of the runtime that differs most
    checks = {finding.check for finding in file.findings if finding.verdict == "FAIL"}
    failed = f"; fails {', '.join(sorted(checks))}" if checks else ""
    return loads and agrees and bool(differences), ", ".join(told) + failed


def difference(result: RuntimeResult, largest: float) -> float | None:
    if result.test is None or result.test.largest_difference is None:
        return None
    return result.test.largest_difference / largest


def converted_model(name: str, data: Path, folder: Path, steps: Steps) -> Converted:
    """Saves a network and converts it from that file."""
    steps.note(f"building {name}")
    scaling = SCALING.get(name)
    path = folder / f"{name}.keras"
    network(name, data, scaling or Scaling()).save(path)
    gate = msgspec.structs.replace(read_gate(), retry=None, inconclusive_passes=True)  # few images; no retries
    request = ConvertRequest(
        origin=KerasFile(path, data, scaling=scaling),
        golden=None,
        gate=gate,
        name=name.lower(),
        version="1.0.0",
        licence="not stated",
        intended_use="The tests of limiar.",
        seed=0,
        thumbnails=False,
        allow_chance=True,  # it is not trained
    )
    return convert_run(request, lambda text, *files: steps.note(f"{name}: {text}" if text else ""))


def network(name: str, data: Path, scaling: Scaling) -> Any:
    """A network with random weights that behaves like a trained one: statistics of real images, logits that tell labels apart.

    With its initial weights, MobileNetV3Small's logits are all about 1e-10, which float16 cannot hold.
    """
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, input_shape=(SIDE_PX, SIDE_PX, 3), classes=len(LABELS))
    files = sorted(data.glob("*/*.png"))[::2]
    pixels = np.stack([np.asarray(Image.open(file)) for file in files]).astype(np.float32)
    scale, mean, std = (np.array(values, np.float32) for values in (scaling.scale, scaling.mean, scaling.std))
    pixels = (pixels * scale - mean) / std
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # the statistics become those of one pass
        elif isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    model(pixels, training=True)
    last = next(layer for layer in reversed(model.layers) if layer.weights)
    features = np.asarray(keras.Model(model.inputs[0], last.input)(pixels)).reshape(len(files), -1)
    centre = features.mean(axis=0)
    wanted = np.array([[SPREAD if file.parent.name == label else -SPREAD for label in LABELS] for file in files])
    # The weak directions of random features would need large weights, which amplify int8's and float16's noise.
    kernel = np.linalg.lstsq(features - centre, wanted - wanted.mean(axis=0), rcond=0.4)[0]
    last.set_weights([kernel.reshape(last.weights[0].shape), wanted.mean(axis=0) - centre @ kernel])
    return model


def write_images(data: Path, rng: np.random.Generator) -> None:
    """Writes a folder of colour images for each label; no two images are the same."""
    for label in LABELS:
        (data / label).mkdir(parents=True)
        for index, pixels in enumerate(drawn(label, rng)):
            Image.fromarray(pixels).save(data / label / f"{index:02}.png")


def drawn(label: str, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """EACH images of a label, uint8 [SIDE_PX, SIDE_PX, 3]."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX
    for _ in range(EACH):
        phase, rate = rng.uniform(0, 6), rng.uniform(20, 40)
        shape = {
            "blobs": 2 * ((x - rng.uniform(0.3, 0.7)) ** 2 + (y - rng.uniform(0.3, 0.7)) ** 2 < 0.04) - 1,
            "columns": np.sin(rate * x + phase),
            "noise": rng.normal(0, 1, x.shape),
            "rows": np.sin(rate * y + phase),
        }[label]
        pixels = rng.uniform(70, 180, 3) + shape[..., None] * rng.uniform(20, 60, 3) + rng.normal(0, 10, (*x.shape, 3))
        yield np.clip(pixels, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
