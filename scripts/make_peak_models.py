"""Makes the networks by which `limiar bench --profile` measures a processor's peak. Runs in the desktop environment.

Two 3x3 convolutions of 128 channels at 16x16 pixels, in float32 and in int8: of seven networks of 64 to 256 channels it was the
one in which XNNPACK made most of an x86-64 server. What they compute does not matter, so their weights are a short pattern that
compresses to nothing.
"""

import gzip
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

PLACE = Path(__file__).resolve().parents[1] / "edge_app" / "bench" / "peak"
SIDE_PX, CHANNELS = 16, 128


def network() -> keras.Model:
    given = keras.Input((SIDE_PX, SIDE_PX, CHANNELS), batch_size=1)
    out = given
    for _ in range(2):
        out = keras.layers.Conv2D(CHANNELS, 3, padding="same", activation="relu")(out)
    made = keras.Model(given, out)
    for layer in made.layers[1:]:
        weights, bias = layer.get_weights()
        pattern = (np.arange(weights.size) % 8 - 3.5) / 100
        layer.set_weights([pattern.reshape(weights.shape).astype(np.float32), np.full_like(bias, 0.1)])
    return made


def converted(integer: bool) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(network())
    if integer:
        images = np.random.default_rng(17).uniform(-1, 1, (4, 1, SIDE_PX, SIDE_PX, CHANNELS)).astype(np.float32)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def main() -> int:
    PLACE.mkdir(exist_ok=True)
    for precision in ("fp32", "int8"):
        data = gzip.compress(converted(precision == "int8"), 9, mtime=0)
        (PLACE / f"{precision}.tflite.gz").write_bytes(data)
        print(f"{precision}: {len(data)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
