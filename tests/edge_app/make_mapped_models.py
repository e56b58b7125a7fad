"""Makes tests/edge_app/data/mapped: a network of two outputs whose map can be calculated by hand, as files.

    .venv/bin/python tests/edge_app/make_mapped_models.py

Needs the desktop install; the tests that use the files do not. Features are the mean red and the mean blue of each of 5x5
cells; "pos" is red, "neg" blue, each times GAIN. Through the very functions that `limiar convert --cam` uses.
"""

import tempfile
from pathlib import Path

import msgspec
import numpy as np

from limiar.convert.export.to_onnx import convert_onnx, onnx_model
from limiar.convert.export.to_tflite import convert_tflite
from limiar.convert.source.class_map import mapped
from limiar.convert.source.frameworks import keras
from limiar.convert.source.keras_model import export_saved_model
from limiar.edge_app.bundle.manifest import GOLDEN, InputSpec
from limiar.edge_app.image.read import decode
from limiar.edge_app.image.resize import model_input
from limiar.edge_app.inference.golden import Golden
from limiar.edge_app.runtimes import open_preferred

DATA = Path(__file__).parent / "data"
OUT = DATA / "mapped"
SPEC = InputSpec(height=40, width=40, channels=3)
CELL_PX = 8
GAIN = 10.0


def main() -> None:
    model = mapped(red_against_blue(), "this network")
    rng = np.random.default_rng(0)
    calibration = rng.integers(0, 256, (64, 5, 5, 3)).repeat(CELL_PX, axis=1).repeat(CELL_PX, axis=2).astype(np.uint8)
    calibration[0], calibration[1] = 0, 255
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "saved"
        export_saved_model(model, SPEC, saved)
        files = {f"tflite_{precision}.tflite": convert_tflite(saved, precision, calibration) for precision in ("fp32", "int8")}
    files["onnx_fp32.onnx"] = convert_onnx(onnx_model(model, SPEC), "fp32", calibration)
    files["golden.json"] = golden(files)
    OUT.mkdir(exist_ok=True)
    for name, data in files.items():
        (OUT / name).write_bytes(data)
        print(f"{len(data):7d}  {name}")


def red_against_blue() -> keras.Model:
    image = keras.Input((SPEC.height, SPEC.width, SPEC.channels))
    convolution, dense = keras.layers.Conv2D(2, CELL_PX, strides=CELL_PX), keras.layers.Dense(2)
    model = keras.Model(image, dense(keras.layers.GlobalAveragePooling2D()(convolution(image))))
    mean = np.zeros((CELL_PX, CELL_PX, 3, 2))
    mean[:, :, 0, 0] = mean[:, :, 2, 1] = 1 / (255 * CELL_PX**2)  # red is feature 0, blue feature 1
    convolution.set_weights([mean, np.zeros(2)])
    dense.set_weights([np.array([[0.0, GAIN], [GAIN, 0.0]]), np.zeros(2)])  # the logits are neg, pos
    return model


def golden(files: dict[str, bytes]) -> bytes:
    """golden.json for the tiny bundle's images, as the installed runtimes answer."""
    tiny = msgspec.json.decode((DATA / "tiny" / GOLDEN).read_bytes(), type=Golden)
    images = [(DATA / "tiny" / image.path).read_bytes() for image in tiny.images]
    tensors = [model_input(decode(data, image.path), SPEC) for data, image in zip(images, tiny.images, strict=True)]
    logits = {}
    for name, model in files.items():
        stem, _, model_format = name.partition(".")
        runtime = open_preferred(model_format, model)
        logits[stem] = tuple(tuple(runtime.logits(tensor).tolist()) for tensor in tensors)
    return msgspec.json.format(msgspec.json.encode(Golden(tiny.images, logits)), indent=1) + b"\n"


if __name__ == "__main__":
    main()
