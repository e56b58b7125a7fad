"""Every number of a training run, with its unit and reason, the recipes, and the input. Imports no Keras."""

import contextlib
import difflib
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
import msgspec.inspect
from msgspec import UNSET, Meta

from limiar.edge_app.bundle.manifest import DicomSpec, DicomWindow, InputSpec
from limiar.edge_app.errors import LimiarError, TrainError, printable
from limiar.train.dataset.splits import Shares
from limiar.train.record.run_folder import Run

Share = Annotated[float, Meta(ge=0.0, lt=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
Count = Annotated[int, Meta(ge=1, le=100_000)]


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Its defaults are the quick recipe, "limiar"."""

    # The data.
    test_share: Share = Shares.test  # of all images, if no split is given
    val_share: Share = Shares.val
    min_per_class: Count = Shares.minimum  # images of each class in each part
    balance: bool = True  # weight each class by 1 / its share of the training images

    # Images that take more than this, as the model gets them, are read from RUN.partial while it trains, not kept in memory.
    memory_mb: Annotated[float, Meta(ge=0.0)] = 0.0  # 0: a quarter of what is free

    # Where it is computed (docs/training.md, "On a GPU").
    on_device: Literal["auto", "yes", "no"] = "auto"  # augment on the device; auto: with JAX, unless it has only one CPU
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # of activations; auto: 16 bit on an accelerator

    # The optimizer.
    epochs: Count = 50  # at most
    images: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0  # shown in all epochs, at most: more get fewer epochs; 0: any
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
    # Weight of log(T)^2 when the temperature is fitted, nats (fit/calibrate.py): what a few validation images say of it and
    # what new images say differ by a factor of 2 and more.
    caution: Annotated[float, Meta(ge=0.0, le=1000.0)] = 0.0

    def sharp(self, epoch: int) -> bool:
        """Whether an epoch, counted from 1, is one of the last `sharp_epochs`."""
        return epoch > self.epochs - self.sharp_epochs


@dataclass(frozen=True)
class Hosts:
    """Which process this is of several that train one model."""

    count: int
    own: int  # 0 to count - 1; 0 writes the RUN
    coordinator: str  # HOST:PORT, where host 0 listens


INPUT = InputSpec(height=40, width=40, channels=3)  # the course's, for both networks by default
SIDES_PX = (8, 4096)  # compact halves a side three times; a bundle holds no more
WINDOWED_SIDE_PX = 27  # windowed pads nothing: of 27 px its convolutions leave 1
BACKENDS = ("tensorflow", "jax")  # of Keras; the first unless KERAS_BACKEND says otherwise
LOWER_RATE = 0.1  # of the rate that a RUN was trained with, to continue it: docs/training.md has the results

SPLITS = ("test_share", "val_share", "min_per_class")  # what draws the splits of images that have none

# The committed reference model's: what cross-validation on CT patches chose (docs/training.md has the table). A network of
# 51 k weights takes long to learn, and does not learn 4,443 images by heart: six times the epochs, and no dropout.
REFERENCE = Config(
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
)
# As a prior: a factor of 1.28 is one standard deviation. Chosen among 0, 4, 8, 16 and Platt's targets, on draws of 30 to 240
# answers for images that were used neither for training nor for the test (docs/training.md).
CAUTION = 8.0
RECIPES = {
    # The plain command's. It ends in the time that 5,000 images take.
    "standard": msgspec.structs.replace(REFERENCE, images=1_500_000, caution=CAUTION),
    "limiar": Config(caution=CAUTION),  # --quick
    "reference": REFERENCE,
    # The course's protocol; a number that it does not give is the usual one for such a network.
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


FEWEST_EPOCHS = 20  # however many images there are: the rate has to rise and fall


def recipe_of(recipe: str | None, quick: bool, model: str | None) -> str:
    """The recipe as asked for, else the best known one that ends in a bounded time; LeNet's epochs take ten times as long."""
    return recipe or ("limiar" if quick or model == "lenet" else "standard")


def within(config: Config, training_images: int) -> Config:
    """The same, with fewer epochs if this many images would be shown more often than `images` says."""
    if not config.images:
        return config
    epochs = min(config.epochs, max(FEWEST_EPOCHS, config.images // training_images))
    return msgspec.structs.replace(config, epochs=epochs, sharp_epochs=_in_proportion(config, epochs))


def _in_proportion(config: Config, epochs: int) -> int:
    """How many of `epochs` are sharp."""
    return config.sharp_epochs * epochs // config.epochs


def configured(recipe: str, changes: Iterable[str]) -> Config:
    """A recipe with `KEY=VALUE` changes. Raises TrainError."""
    return changed(RECIPES[recipe], changes)


def continued(run: Run, changes: Iterable[str]) -> Config:
    """The numbers for training a RUN's network further: its own, at a lower rate. Raises TrainError if they are unknown."""
    values = msgspec.structs.asdict(RECIPES["limiar"]) | run.config
    try:
        base = msgspec.convert(values, Config, strict=False)
    except msgspec.ValidationError as error:
        met = f"--from: train.json is from another version of limiar: {printable(str(error))}"
        raise TrainError("E-TRAIN-FROM", f"{met}: train again from images, or use the version that made it") from None
    if run.parent is None:  # otherwise it is low already
        rate, rate_end = (float(f"{value * LOWER_RATE:.6g}") for value in (base.rate, base.rate_end))
        base = msgspec.structs.replace(base, rate=rate, rate_end=rate_end)
    return changed(base, changes)


def changed(config: Config, changes: Iterable[str]) -> Config:
    """With `KEY=VALUE` changes. Raises TrainError for an unknown key, a value of another type or out of range.

    Another number of epochs takes its share of sharp ones along, and lifts the limit of `images`, unless these are given too.
    """
    given: dict[str, Any] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if key not in Config.__struct_fields__:
            near = difflib.get_close_matches(key, Config.__struct_fields__, 1)
            cure = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(sorted(Config.__struct_fields__))}"
            raise TrainError("E-TRAIN-CONFIG", f"--set {printable(change)}: {printable(key)} is not a key: {cure}")
        if not equals:
            raise TrainError("E-TRAIN-CONFIG", f"--set {key} has no value: give --set {key}=VALUE")
        given[key] = _value(key, value)
    if "epochs" in given:
        given = {"sharp_epochs": _in_proportion(config, given["epochs"]), "images": 0} | given
    config = msgspec.structs.replace(config, **given)
    if config.test_share + config.val_share >= 1:  # nothing would be left to train on
        met = f"--set: test_share={config.test_share} and val_share={config.val_share} leave no image for training"
        raise TrainError("E-TRAIN-CONFIG", f"{met}: give less than 1 together, for instance --set test_share=0.25")
    if config.sharp_epochs >= config.epochs:  # nothing of the augmentation would be left
        met = f"--set: sharp_epochs={config.sharp_epochs} of epochs={config.epochs}"
        raise TrainError("E-TRAIN-CONFIG", f"{met}: give fewer, for instance --set sharp_epochs={config.epochs // 5}")
    return config


def _value(key: str, text: str) -> Any:
    """What the key takes. Raises TrainError."""
    wanted = get_type_hints(Config, include_extras=True)[key]
    with contextlib.suppress(msgspec.ValidationError):
        value = msgspec.convert(text, wanted, strict=False)
        if not isinstance(value, float) or math.isfinite(value):  # infinity is within every limit, and null in train.json
            return value
    met = f"--set: {key}={printable(text)} is not {_in_words(msgspec.inspect.type_info(wanted))}"
    raise TrainError("E-TRAIN-CONFIG", f"{met}: give another value")


def _in_words(wanted: msgspec.inspect.Type) -> str:
    """What a value must be, "a whole number from 1 to 100000"."""
    match wanted:
        case msgspec.inspect.LiteralType(values=values):
            return f"one of {', '.join(map(str, values))}"
        case msgspec.inspect.IntType(ge=least, le=most):
            return f"a whole number from {least} to {most}"
        case msgspec.inspect.FloatType(gt=above, ge=least, lt=below, le=most):
            low = f" above {above:g}" if above is not None else f" from {least:g}" if least is not None else ""
            high = f" to below {below:g}" if below is not None else f" to {most:g}" if most is not None else ""
            return f"a number{low}{high or (' up' if least is not None else '')}"
        case _:
            return "true or false"


def check_backend() -> None:
    """Raises TrainError if limiar is not tested with the backend that Keras would use, LimiarError if JAX is not installed.

    Call it before Keras is imported.
    """
    backend = os.environ.get("KERAS_BACKEND") or BACKENDS[0]
    if backend not in BACKENDS:
        met = f"KERAS_BACKEND={printable(backend)}: limiar trains with {' or '.join(BACKENDS)}"
        raise TrainError("E-TRAIN-BACKEND", f"{met}: set one of these, or unset it")
    if backend == "jax" and find_spec("jax") is None:
        raise LimiarError("E-INSTALL-MISSING", "KERAS_BACKEND=jax, but jax is not installed: pip install jax, or unset it")


def input_of(
    size: tuple[int, int], channels: Literal[1, 3], grey_max: int | None = None, dicom_window: DicomWindow | None = None
) -> InputSpec:
    """A model's input: (height, width) in pixels, 1 or 3 channels.

    grey_max: the largest value of undeclared 16-bit images; dicom_window: of DICOM images, which are refused without.
    """
    return InputSpec(
        height=size[0],
        width=size[1],
        channels=channels,
        grey_max=UNSET if grey_max is None else grey_max,
        dicom=DicomSpec.given(dicom_window),
    )


def check_input(spec: InputSpec, model: str = "compact") -> None:
    """Raises TrainError if the network cannot be built for it."""
    least, most = WINDOWED_SIDE_PX if model == "windowed" else SIDES_PX[0], SIDES_PX[1]
    if not (least <= spec.height <= most and least <= spec.width <= most):
        met = f"--size {spec.height}x{spec.width}: a side of {model} has {least} to {most} pixels"
        raise TrainError("E-TRAIN-SIZE", f"{met}: give another size")
