#!/usr/bin/env python3
"""Does `limiar convert` accept models as other people make them? Prints a table; exit status 1 if it does not.

    studies/strangers_models.py [NAME...]

Small models of many kinds, with a last layer fitted to generated coloured images, saved as people save them. Each must become a
bundle whose Keras model is right on validation, or be refused by one line that names cause and cure. If a program can follow
the cure, this one does, and the result must be a bundle. The Keras 2 models are those of the tests.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import os
import re
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner
from PIL import Image

from limiar.convert.export.recipes import RECIPES
from limiar.convert.source.frameworks import keras
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.cli import limiar
from limiar.edge_app.errors import LimiarError

SIDE_PX = 24
LABELS = ("blue", "green", "red")
EACH = 70  # images of a label
RIGHT = 0.8  # the share of validation images that a bundle's Keras model must answer correctly
SHAPE = (SIDE_PX, SIDE_PX, 3)
KERAS_2 = Path(__file__).parent.parent / "tests" / "convert" / "data" / "keras2"
WIDTH, INDENT = 128, "    "  # of what is printed
GATE = """
inconclusive_passes = true
[noninferiority]
margin = 0.3
"""
layers = keras.layers
Pixels = np.ndarray  # float32 [N, SIDE_PX, SIDE_PX, 3], 0..255


@dataclass(frozen=True)
class Stranger:
    """A model that someone might bring."""

    model: Callable[["Images"], Any]  # makes it, fitted
    refused: str = ""  # the code, if it must be refused as it is
    follow: bool = True  # whether a program can follow the cure
    words: tuple[str, ...] = ()  # further options
    suffix: str = ".keras"
    folders: bool = False  # the images in train, val and test folders


class Images:
    """Noise in which one channel is brighter, on a stripe."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        self.folder, self.split = folder / "images", folder / "split"
        pixels, truth = [], []
        for place, label in enumerate(LABELS):
            for k in range(EACH):
                image = rng.integers(50, 130, SHAPE)
                image[:, 4 + k % 8 : 14 + k % 8, 2 - place] += 70
                part = ("train", "val", "test")[0 if k < EACH // 2 else 1 + k % 2]
                for where in (self.folder / label, self.split / part / label):
                    where.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(image.astype(np.uint8)).save(where / f"{k:03}.png")
                pixels.append(image)
                truth.append(place)
        self.pixels, self.truth = np.stack(pixels).astype(np.float32), np.array(truth)

    def fitted(self, image: Any, features: Any, pixels: Pixels | None = None, units: int = 3) -> Any:
        """A model image -> features -> dense layer, fitted by ridge regression. pixels: scaled as for training; None: raw."""
        shown = self.pixels if pixels is None else pixels
        flat = layers.Flatten()(features) if len(features.shape) > 2 else features
        found = np.asarray(keras.Model(image, flat).predict(shown, verbose=0, batch_size=len(shown)), np.float64)
        centre, spread = found.mean(axis=0), found.std(axis=0) + 1e-3
        wanted = 8 * np.eye(3)[self.truth] - 4 if units == 3 else np.where(self.truth == 2, 6.0, -6.0)[:, None]
        known = (found - centre) / spread
        kernel = np.linalg.solve(known.T @ known + 3 * np.eye(known.shape[1]), known.T @ (wanted - wanted.mean(axis=0)))
        kernel = kernel / spread[:, None]
        last = layers.Dense(units, name="answer")
        model = keras.Model(image, last(flat))
        last.set_weights([kernel, wanted.mean(axis=0) - centre @ kernel])
        return model


def through(*middle: Any, scaled: bool = True) -> Callable[[Images], Any]:
    """A model of these layers in sequence, between a convolution and global pooling."""

    def build(images: Images) -> Any:
        image = keras.Input(SHAPE)
        x = layers.Rescaling(1 / 255)(image) if scaled else image
        x = layers.Conv2D(12, 3, strides=2, activation="relu")(x)
        for layer in middle:
            x = layer(x)
        return images.fitted(image, layers.GlobalAveragePooling2D()(x))

    return build


def in_front(make: Callable[[Any], Any]) -> Callable[[Images], Any]:
    """A model that begins with its own scaling of the pixels."""

    def build(images: Images) -> Any:
        image = keras.Input(SHAPE)
        x = layers.Conv2D(12, 3, strides=2, activation="relu")(make(image))
        return images.fitted(image, layers.GlobalAveragePooling2D()(x))

    return build


def outside(scaled: Callable[[Pixels], Pixels]) -> Callable[[Images], Any]:
    """A model whose pixels must be scaled before it; it saturates if they are not."""

    def build(images: Images) -> Any:
        image = keras.Input(SHAPE)
        pooled = layers.GlobalAveragePooling2D()(image)
        shown = scaled(images.pixels)
        means = shown.mean(axis=(1, 2))
        low, high = means.min(axis=0), means.max(axis=0)
        near = layers.Rescaling((4 / (high - low)).tolist(), (-2 * (high + low) / (high - low)).tolist())(pooled)
        return images.fitted(image, layers.Activation("hard_sigmoid")(near), shown)

    return build


def augmenting(images: Images) -> Any:
    image = keras.Input(SHAPE)
    x = layers.RandomRotation(0.2)(layers.RandomFlip()(layers.Rescaling(1 / 255)(image)))
    x = layers.BatchNormalization()(layers.Conv2D(12, 3, activation="relu")(layers.RandomContrast(0.3)(x)))
    return images.fitted(image, layers.GlobalAveragePooling2D()(layers.GaussianNoise(0.3)(layers.Dropout(0.3)(x))))


def first(images: Images) -> Any:
    """A model with channels first, from the input on."""
    image = keras.Input((3, SIDE_PX, SIDE_PX))
    x = layers.Conv2D(12, 3, activation="relu", data_format="channels_first")(layers.Rescaling(1 / 255)(image))
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    same = keras.Input(SHAPE)
    twin = layers.Conv2D(12, 3, activation="relu")
    fitted = images.fitted(same, layers.GlobalAveragePooling2D()(twin(layers.Rescaling(1 / 255)(same))))
    model = keras.Model(image, layers.Dense(3)(x))
    model.set_weights(fitted.get_weights())
    return model


def convnext(images: Images) -> Any:
    image = keras.Input(SHAPE)
    x = layers.Conv2D(12, 4, strides=4)(layers.Rescaling(1 / 255)(image))
    deep = layers.LayerNormalization(epsilon=1e-6)(layers.Conv2D(12, 7, padding="same", groups=12)(x))
    x = x + layers.Dense(12)(layers.Activation("gelu")(layers.Dense(48)(deep)))
    return images.fitted(image, layers.GlobalAveragePooling2D()(x))


def transformer(images: Images) -> Any:
    image = keras.Input(SHAPE)
    x = layers.Reshape((16, 24))(layers.Conv2D(24, 6, strides=6)(layers.Rescaling(1 / 255)(image)))
    normal = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 12)(normal, normal)
    x = x + layers.Dense(24)(layers.Dense(48, activation="gelu")(layers.LayerNormalization()(x)))
    return images.fitted(image, layers.GlobalAveragePooling1D()(x))


def again(images: Images, *start: Any, **options: Any) -> Any:
    """A sequential model, and the weights of a fitted one for it."""
    fitted = through()(images)
    stack = [layers.Rescaling(1 / 255), layers.Conv2D(12, 3, strides=2, activation="relu"), layers.GlobalAveragePooling2D()]
    model = keras.Sequential([*start, *stack, layers.Dense(3, **options)])
    return model, fitted.get_weights()


def without_input(images: Images) -> Any:
    model, weights = again(images, activation="softmax")
    model.compile(loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.SGD(0.0))
    model.fit(images.pixels[:32], images.truth[:32], batch_size=32, verbose=0)
    model.set_weights(weights)
    return model


def started(*start: Any, **options: Any) -> Callable[[Images], Any]:
    def build(images: Images) -> Any:
        model, weights = again(images, *(make() for make in start), **options)
        model.set_weights(weights)
        return model

    return build


def quantized(images: Images) -> Any:
    model = through()(images)
    model.quantize("int8")
    return model


def permuted(images: Images) -> Any:
    model = through()(images)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel[:, [2, 0, 1]], bias[[2, 0, 1]]])
    return model


def two_outputs(images: Images) -> Any:
    model = through()(images)
    return keras.Model(model.inputs[0], [model.outputs[0], layers.Dense(2, name="side")(model.layers[-1].input)])


def custom(images: Images) -> Any:
    image = keras.Input(SHAPE)
    return images.fitted(image, layers.GlobalAveragePooling2D()(layers.Lambda(lambda x: x / 255.0, name="scale")(image)))


IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))
CAFFE = np.array([103.939, 116.779, 123.68])
STRANGERS: dict[str, Stranger] = {
    "plain": Stranger(through()),
    "augmenting": Stranger(augmenting),
    "grouped": Stranger(through(layers.Conv2D(12, 3, groups=4, activation="relu"))),
    "dilated, transposed": Stranger(through(layers.DepthwiseConv2D(3, dilation_rate=2), layers.Conv2DTranspose(8, 3))),
    "channels first": Stranger(first),
    "ConvNeXt": Stranger(convnext),
    "transformer": Stranger(transformer),
    "group normalization": Stranger(through(layers.GroupNormalization(4), layers.Activation("relu"))),
    "spectral normalization": Stranger(through(layers.SpectralNormalization(layers.Conv2D(8, 3)), layers.PReLU())),
    "caffe inside": Stranger(in_front(keras.applications.resnet50.preprocess_input)),
    "torch inside": Stranger(in_front(keras.applications.densenet.preprocess_input)),
    "antialiased resizing": Stranger(
        in_front(lambda image: layers.Resizing(20, 20, antialias=True)(layers.Rescaling(1 / 255)(image)))
    ),
    "mixed precision": Stranger(through(layers.Conv2D(8, 3, dtype="mixed_float16"))),
    "no Input": Stranger(without_input),
    "a fixed batch": Stranger(started(lambda: keras.Input(SHAPE, batch_size=8))),
    "any size": Stranger(started(lambda: keras.Input((None, None, 3))), "E-CONVERT-INPUT"),
    "quantize int8": Stranger(quantized, "E-CONVERT-QUANTIZED"),
    "two outputs": Stranger(two_outputs, "E-CONVERT-OUTPUTS"),
    "permuted labels": Stranger(permuted, "E-CONVERT-CHANCE"),
    "BGR": Stranger(outside(lambda pixels: pixels[..., ::-1] / 255), "E-CONVERT-CHANCE"),
    "forgotten 1/255": Stranger(outside(lambda pixels: pixels / 255), "E-CONVERT-CHANCE"),
    "forgotten torch": Stranger(outside(lambda pixels: (pixels / 255 - IMAGENET[0]) / IMAGENET[1]), "E-CONVERT-CHANCE"),
    "forgotten caffe": Stranger(outside(lambda pixels: pixels[..., ::-1] - CAFFE), "E-CONVERT-CHANCE"),
    "Keras 3 .h5": Stranger(started(lambda: keras.Input(SHAPE), activation="softmax"), suffix=".h5"),
    "Keras 2 .keras": Stranger(lambda images: KERAS_2 / "model.keras", words=("--allow-chance",)),
    "Keras 2 .h5": Stranger(lambda images: KERAS_2 / "model.h5", words=("--allow-chance",)),
    "given splits": Stranger(through(), folders=True),
    "Lambda": Stranger(custom, "E-CONVERT-MODEL", follow=False),
}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("names", nargs="*", metavar="NAME", help=f"default: all, {', '.join(STRANGERS)}")
    names = options.parse_args().names or list(STRANGERS)
    wrong = 0
    print(f"{'model':<24}{'outcome':<10}{'files':>6}    below: what it was told, and what was done")
    with tempfile.TemporaryDirectory(prefix="limiar-") as folder:
        os.chdir(folder)  # convert finds no .venv-tflite there, which makes it twice as fast
        Path("gate.toml").write_text(GATE, encoding="utf-8")
        images = Images(Path(folder))
        for name in names:
            outcome, files, told = tried(STRANGERS[name], images, Path(folder))
            wrong += outcome == "WRONG"
            print(f"{name:<24}{outcome:<10}{files:>6}", flush=True)
            for line in told:
                print(textwrap.fill(line, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT), flush=True)
    print(f"{wrong} of {len(names)} models wrong")
    return 1 if wrong else 0


def tried(stranger: Stranger, images: Images, folder: Path) -> tuple[str, int, list[str]]:
    """The outcome, the number of model files in the bundle, and remarks, one line each."""
    keras.utils.set_random_seed(1)
    path = folder / f"model{stranger.suffix}"
    model = stranger.model(images)
    if isinstance(model, Path):
        path = Path(shutil.copy(model, folder))
    else:
        model.save(path)
    data = images.split if stranger.folders else images.folder
    words = ["--model", str(path), "--data", str(data), "--gate", "gate.toml", *stranger.words]
    told = []
    error = converted(words)
    if isinstance(error, LimiarError):
        told.append(str(error).replace(str(folder), "…"))
        if error.code != stranger.refused or "\n" in str(error):
            return "WRONG", 0, told
        if not stranger.follow:
            return "refused", 0, told
        options = list(cure(error, stranger, images, path, model))
        told.append("then: " + (" ".join(options).replace(str(folder), "…") or "the model saved so"))
        words[1] = str(path)
        error = converted([*words, *options])
    if error is not None or (stranger.refused and not told):
        return "WRONG", 0, [*told, repr(error)]
    bundle = open_bundle(folder / "out")
    right = re.search(rb'"keras": \{\s*"val": \{.*?"accuracy": \{\s*"value": ([\d.]+)', bundle.read("report.json"), re.DOTALL)
    left_out = [one.name for one in RECIPES if one.name not in bundle.manifest.models]
    told += ["left out: " + ", ".join(left_out)] if left_out else []
    known = "--allow-chance" in stranger.words or (right is not None and float(right[1]) >= RIGHT)
    return ("bundle" if known else "WRONG"), len(bundle.manifest.models), told


def converted(words: list[str]) -> BaseException | None:
    """Runs `limiar convert`; returns its error, or None if it succeeded."""
    shutil.rmtree("out", ignore_errors=True)
    result = CliRunner().invoke(limiar, ["convert", *words, "--out", "out"], standalone_mode=False)
    if result.exception is None and result.return_value != 0:
        return RuntimeError(result.stdout[-300:])
    return result.exception


def cure(error: LimiarError, stranger: Stranger, images: Images, path: Path, model: Any) -> Iterator[str]:
    """Does what the line says about the file, and yields the options that it names."""
    if error.code == "E-CONVERT-QUANTIZED":
        through()(images).save(path)
    elif error.code == "E-CONVERT-OUTPUTS":
        keras.Model(model.inputs, model.outputs[0]).save(path)
    elif error.code == "E-CONVERT-INPUT":
        yield from ("--size", f"{SIDE_PX}x{SIDE_PX}")
    elif found := re.search(r"it would be [\d.]+ with (.*?)(?:;|: give)", error.message):
        options, _, listed = found[1].partition("--labels FILE that lists ")
        if listed:
            Path("labels.txt").write_text(listed.partition(", one a line")[0].replace(", ", "\n") + "\n", encoding="utf-8")
            yield from ("--labels", "labels.txt")
        if not options.startswith("no "):
            yield from (word for word in options.split() if word != "and")


if __name__ == "__main__":
    sys.exit(main())
