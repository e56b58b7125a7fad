"""Makes tests/edge_app/data/tiny: a real model, small enough to be committed, as three files, and its golden images.

    .venv/bin/python tests/edge_app/make_tiny_models.py

Needs the desktop install; the tests that use the files do not. Two labels: "pos" is a bright reddish disc, "neg" are bluish
stripes, so that swapped colour channels show. Run again, it gives other bytes: commit what it made, or leave it.
"""

import io
import tempfile
from pathlib import Path

import keras
import msgspec
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from PIL import Image

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.image.read import decode
from limiar.edge_app.image.resize import model_input, tensor_sha256
from limiar.edge_app.inference.golden import Golden, GoldenImage
from limiar.edge_app.runtimes import open_preferred

OUT = Path(__file__).parent / "data" / "tiny"
SIDE_PX = 40
SPEC = InputSpec(height=SIDE_PX, width=SIDE_PX, channels=3)


def main() -> None:
    rng = np.random.default_rng(5)
    keras.utils.set_random_seed(1)
    model = trained(rng)
    calibration = [image[None].astype(np.float32) for image, _ in (example(rng, SIDE_PX, SIDE_PX) for _ in range(64))]
    calibration[0][0, 0, 0] = 0.0, 255.0, 128.0  # so that the input's scale is 1.0 and its zero point 0
    with tempfile.TemporaryDirectory() as saved:
        model.export(saved, input_signature=[keras.InputSpec(shape=(1, SIDE_PX, SIDE_PX, 3), dtype="float32")], verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        fp32 = converter.convert()
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image] for image in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type, converter.inference_output_type = tf.uint8, tf.int8
        int8 = converter.convert()
    signature = (tf.TensorSpec((1, SIDE_PX, SIDE_PX, 3), tf.float32, name="image"),)
    graph, _ = tf2onnx.convert.from_function(tf.function(model, input_signature=signature), signature, opset=17)
    onnx.checker.check_model(graph)
    files = {"tflite_int8.tflite": int8, "tflite_fp32.tflite": fp32, "onnx_fp32.onnx": graph.SerializeToString()}
    images = golden_images(rng)
    (OUT / "golden").mkdir(parents=True, exist_ok=True)
    for name, data in {**files, **images, "golden/golden.json": golden(images, files)}.items():
        (OUT / name).write_bytes(data)
        print(f"{len(data):7d}  {name}")


def trained(rng: np.random.Generator) -> keras.Model:
    layers = [
        keras.Input((SIDE_PX, SIDE_PX, 3)),
        keras.layers.Rescaling(1 / 255),  # without an offset it vanishes in the convolution when quantized
        keras.layers.Conv2D(8, 5, strides=2, padding="same", activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2),
    ]
    model = keras.Sequential(layers)
    pairs = [example(rng, SIDE_PX, SIDE_PX) for _ in range(600)]
    images, labels = (np.stack(part) for part in zip(*pairs, strict=True))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss=loss, metrics=["accuracy"])
    history = model.fit(images.astype(np.float32), labels, epochs=40, verbose=0)
    print(f"accuracy on its own 600 examples {history.history['accuracy'][-1]:.3f}")
    return model


def example(rng: np.random.Generator, height: int, width: int) -> tuple[Pixels, int]:
    """uint8 RGB [height, width, 3] and its label: 1 a reddish disc, 0 bluish stripes; both dim or bright, on noise."""
    label = int(rng.integers(2))
    y, x = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    disc = (y - rng.uniform(0.3, 0.7)) ** 2 + (x - rng.uniform(0.3, 0.7)) ** 2 < rng.uniform(0.15, 0.3) ** 2
    stripes = np.sin((x * rng.uniform(-1, 1) + y) * rng.uniform(15, 40)) > 0.3
    colour = np.array([120, 60, 20]) if label else np.array([20, 60, 120])
    noise = rng.normal(70, 18, (height, width, 3))
    pixels = noise + (disc if label else stripes)[..., None] * colour * rng.uniform(0.0, 1.2)
    return np.clip(pixels, 0, 255).astype(np.uint8), label


def golden_images(rng: np.random.Generator) -> dict[str, bytes]:
    """Ten images in six formats and depths, path in the bundle -> bytes."""
    sizes = {
        "rgb.png": (40, 40), "odd.png": (53, 47), "rotated.png": (30, 44), "grey.png": (48, 36), "palette.png": (41, 45),
        "rgb.bmp": (32, 32), "rgb.ppm": (40, 56), "grey.pgm": (60, 40), "rgb.tif": (45, 33), "sixteen.png": (39, 52),
    }  # fmt: skip
    images = {}
    for name, (height, width) in sizes.items():
        image = Image.fromarray(example(rng, height, width)[0])
        exif = Image.Exif()
        match name.partition(".")[0]:
            case "grey":
                image = image.convert("L")
            case "palette":
                image = image.quantize(32)
            case "sixteen":
                image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
            case "rotated":
                exif[0x0112] = 6
        file = io.BytesIO()
        image.save(file, {".pgm": "PPM", ".ppm": "PPM", ".tif": "TIFF"}.get(name[-4:]) or name[-3:].upper(), exif=exif)
        images[f"golden/{name}"] = file.getvalue()
    return images


def golden(images: dict[str, bytes], files: dict[str, bytes]) -> bytes:
    """golden.json as the installed runtimes answer."""
    tensors = {path: model_input(decode(data, path), SPEC) for path, data in images.items()}
    logits = {}
    for name, model in files.items():
        stem, _, model_format = name.partition(".")
        runtime = open_preferred(model_format, model)
        rows = np.stack([runtime.logits(tensor) for tensor in tensors.values()])
        print(f"{stem}: {np.round(rows, 2).tolist()}")
        logits[stem] = tuple(tuple(row) for row in rows.tolist())
    listed = tuple(GoldenImage(path, tensor_sha256(tensor)) for path, tensor in tensors.items())
    return msgspec.json.format(msgspec.json.encode(Golden(listed, logits)), indent=1) + b"\n"


if __name__ == "__main__":
    main()
