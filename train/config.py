"""Every number of a training run, with its unit and reason, the recipes, and the input. Imports no Keras."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge_app.bundle import InputSpec
from edge_app.errors import LimiarError, TrainError, printable
from edge_app.run_folder import Run
from edge_app.splits import Shares

Share = Annotated[float, Meta(ge=0.0, lt=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
Count = Annotated[int, Meta(ge=1, le=100_000)]


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The default recipe, "limiar"."""

    # The data.
    test_share: Share = Shares.test  # of all images, where no split is given
    val_share: Share = Shares.val
    min_per_class: Count = Shares.minimum  # images of each class in each part
    balance: bool = True  # weight each class by 1 / its share of the training images

    # Images that take more than this, as the model gets them, are read from RUN.partial while it trains, not kept in memory.
    memory_mb: Annotated[float, Meta(ge=0.0)] = 0.0  # 0: a quarter of what is free

    # Where it is computed (docs/training.md, "On a GPU").
    on_device: Literal["auto", "yes", "no"] = "auto"  # augmented by the device; auto: with JAX, where it is no lone CPU
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # of activations; auto: 16 bit on an accelerator

    # The optimizer.
    epochs: Count = 50  # at most
    batch: Count = 64
    rate: Positive = 3e-3  # AdamW peak; a cosine to rate_end follows the warm-up
    rate_end: Annotated[float, Meta(ge=0.0)] = 1.5e-4
    warmup: Annotated[int, Meta(ge=0, le=1000)] = 3  # epochs from 0 to the peak
    weight_decay: Annotated[float, Meta(ge=0.0)] = 1e-3
    dropout: Share = 0.3  # before the last layer
    patience: Annotated[int, Meta(ge=0, le=100_000)] = (
        15  # epochs without a lower validation loss; 0: train them all, keep the last
    )

    # Augmentation, drawn anew for each image and epoch. A patch has no up or down: every angle is as likely.
    flip: bool = True
    rotate_deg: Annotated[float, Meta(ge=0.0, le=180.0)] = 180.0
    shift_px: Annotated[float, Meta(ge=0.0, le=64.0)] = 3.0  # of the model's input, either way
    zoom: Share = 0.1  # factor exp(-zoom) to exp(zoom)
    stretch: Share = 0.0  # the same along any one axis, the inverse across it
    brightness: Annotated[float, Meta(ge=0.0, le=128.0)] = 0.0  # added to all pixels, either way, of 255
    contrast: Share = 0.0  # factor of all pixels, exp(-contrast) to exp(contrast)
    noise: Annotated[float, Meta(ge=0.0, le=128.0)] = 0.0  # largest standard deviation, of 255; the same in all channels

    # The last epochs flip, turn by quarters and shift by whole pixels alone: any other turn or zoom blurs, and what the device
    # sees is sharp (Touvron et al., Fixing the train-test resolution discrepancy, 2019). Of all epochs: see patience.
    sharp_epochs: Annotated[int, Meta(ge=0, le=100_000)] = 0

    smoothing: Share = 0.0  # of a target, spread over all classes: labels may be wrong (Szegedy et al. 2016, section 7)
    calibrate: bool = True  # fit a temperature on validation and fold it into the last layer

    def sharp(self, epoch: int) -> bool:
        """Whether an epoch, counted from 1, is one of the last `sharp_epochs`."""
        return epoch > self.epochs - self.sharp_epochs


@dataclass(frozen=True)
class Hosts:
    """Which process this is of several that train one model."""

    count: int
    own: int  # 0 to count - 1; 0 writes the RUN
    coordinator: str  # HOST:PORT, where host 0 listens


INPUT = InputSpec(height=40, width=40, channels=3)  # the course's, of both networks where no other is asked for
SIDES_PX = (8, 4096)  # compact halves a side three times; a bundle holds no more
BACKENDS = ("tensorflow", "jax")  # of Keras; the first unless KERAS_BACKEND says otherwise
LOWER_RATE = 0.1  # of the rate that a RUN was trained with, to continue it: docs/training.md has what came of it

SPLITS = ("test_share", "val_share", "min_per_class")  # what draws the splits of images that have none

RECIPES = {
    "limiar": Config(),
    # The committed reference model's: what cross-validation on CT patches chose (docs/training.md has the table). A network of
    # 51 k weights takes long to learn, and does not learn 4,443 images by heart: six times the epochs, and no dropout.
    "reference": Config(
        epochs=300,
        rate_end=3e-5,
        dropout=0.0,
        patience=0,
        stretch=0.15,
        brightness=15.0,
        contrast=0.2,
        noise=6.0,
        sharp_epochs=65,
        smoothing=0.05,
    ),
    # The course's protocol; where no number of it is known, the usual one for such a network.
    "course": Config(
        balance=False,
        epochs=25,
        batch=32,
        rate=1e-3,
        rate_end=1e-3,
        warmup=0,
        weight_decay=0.0,
        dropout=0.0,
        patience=0,
        rotate_deg=30.0,
        shift_px=4.0,
        zoom=0.2,
        calibrate=False,
    ),
}


def configured(recipe: str, changes: Iterable[str]) -> Config:
    """A recipe with `KEY=VALUE` changes. Raises TrainError."""
    return changed(RECIPES[recipe], changes)


def continued(run: Run, changes: Iterable[str]) -> Config:
    """The numbers to train a RUN's network on with: its own at a lower rate. Raises TrainError, also where they are unknown."""
    values = msgspec.structs.asdict(RECIPES["limiar"]) | run.config
    try:
        base = msgspec.convert(values, Config, strict=False)
    except msgspec.ValidationError as error:
        met = f"--from: train.json has numbers of another limiar: {printable(str(error))}"
        raise TrainError("E-TRAIN-FROM", f"{met}: train anew, or with the version that made it") from None
    if run.parent is None:  # else it is low already
        rate, rate_end = (float(f"{value * LOWER_RATE:.6g}") for value in (base.rate, base.rate_end))
        base = msgspec.structs.replace(base, rate=rate, rate_end=rate_end)
    return changed(base, changes)


def changed(config: Config, changes: Iterable[str]) -> Config:
    """With `KEY=VALUE` changes. Raises TrainError for an unknown key, a value of another type or out of range."""
    values = msgspec.structs.asdict(config)
    for change in changes:
        key, _, value = change.partition("=")
        if key not in values:
            known = ", ".join(sorted(values))
            raise TrainError(
                "E-TRAIN-CONFIG", f"--set {printable(change)}: there is no {printable(key)}: choose one of {known}"
            )
        values[key] = value
    try:
        config = msgspec.convert(values, Config, strict=False)
    except msgspec.ValidationError as error:
        raise TrainError("E-TRAIN-CONFIG", f"--set: {printable(str(error))}: give another value") from None
    for key, value in msgspec.structs.asdict(config).items():
        if isinstance(value, float) and not math.isfinite(value):  # within every limit, and null in train.json
            raise TrainError("E-TRAIN-CONFIG", f"--set: {key}={value} is no finite number: give another value")
    if config.test_share + config.val_share >= 1:  # nothing would be left to train on
        met = f"--set: test_share={config.test_share} and val_share={config.val_share} are all images"
        raise TrainError("E-TRAIN-CONFIG", f"{met}: give less than 1 together, for instance --set test_share=0.25")
    if config.sharp_epochs >= config.epochs:  # nothing of the augmentation would be left
        met = f"--set: sharp_epochs={config.sharp_epochs} of epochs={config.epochs}"
        raise TrainError("E-TRAIN-CONFIG", f"{met}: give fewer, for instance --set sharp_epochs={config.epochs // 5}")
    return config


def check_backend() -> None:
    """Raises TrainError where Keras would compute with what limiar is not tried with, LimiarError where JAX is not installed.

    To be asked before Keras is imported.
    """
    backend = os.environ.get("KERAS_BACKEND") or BACKENDS[0]
    if backend not in BACKENDS:
        met = f"KERAS_BACKEND={printable(backend)}: limiar trains with {' or '.join(BACKENDS)}"
        raise TrainError("E-TRAIN-BACKEND", f"{met}: set one of these, or unset it")
    if backend == "jax" and find_spec("jax") is None:
        raise LimiarError("E-INSTALL-MISSING", "KERAS_BACKEND=jax, and jax is not installed: pip install jax, or unset it")


def check_input(spec: InputSpec) -> None:
    """Raises TrainError where no network can be built for it."""
    least, most = SIDES_PX
    if not (least <= spec.height <= most and least <= spec.width <= most):
        met = f"--size {spec.height}x{spec.width}: a side has {least} to {most} pixels"
        raise TrainError("E-TRAIN-SIZE", f"{met}: give another size")
