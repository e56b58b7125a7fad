"""Makes tests/convert/data/keras2: one small model as Keras 2 saves it, as .keras and .h5, and what Keras 2 answers with it.

    TF_USE_LEGACY_KERAS=1 PYTHON tests/convert/make_keras2_models.py

Needs an environment with tf-keras (2.21) beside TensorFlow; the tests that use the files do not. Other bytes each time.
"""

from pathlib import Path

import numpy as np
import tf_keras as keras

OUT = Path(__file__).parent / "data" / "keras2"
SHAPE = (16, 16, 3)
layers = keras.layers


def main() -> None:
    keras.utils.set_random_seed(1)
    inner_image = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, strides=2, padding="same")(inner_image)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.SeparableConv2D(4, 3, padding="same")(layers.DepthwiseConv2D(3, padding="same")(x)) + x
    inner = keras.Model(inner_image, x, name="backbone")
    image = keras.Input(SHAPE)
    x = keras.applications.mobilenet_v2.preprocess_input(layers.RandomFlip()(image))
    x = layers.GlobalAveragePooling2D()(inner(x, training=False))
    model = keras.Model(image, layers.Dense(3, activation="softmax")(layers.Dropout(0.2)(x)))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "seed" not in weight.name:
            weight.assign(weight + rng.uniform(0.05, 0.3, weight.shape))
    images = rng.integers(0, 256, (4, *SHAPE)).astype(np.uint8)
    OUT.mkdir(parents=True, exist_ok=True)
    model.save(OUT / "model.keras")
    model.save(OUT / "model.h5")
    np.savez_compressed(OUT / "answers.npz", images=images, answers=model.predict(images.astype(np.float32), verbose=0))


if __name__ == "__main__":
    main()
