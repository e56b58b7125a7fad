"""The training loop: one straight pass over epochs, a checkpoint after each, Keras 3 and nothing else.

Backend-neutral: KERAS_BACKEND may be tensorflow, jax or torch. Chance comes from (seed, epoch) alone, so that an interrupted
run goes on where it stopped with the numbers it would have drawn.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import keras
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_app.errors import TrainError, printable
from edge_app.files import write_whole
from edge_app.frame import Pixels
from edge_app.image_folder import DataSet
from train.calibrate import nll
from train.config import Config

STATE = "state.json"  # names the epoch whose files are whole; written last
PREDICT_BATCH = 256


class Epoch(msgspec.Struct, frozen=True):
    """A line of history.csv. Losses are mean negative log likelihoods in nats, `loss` weighted and augmented."""

    epoch: int  # from 1
    rate: float
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float


class Identity(msgspec.Struct, frozen=True):
    """What must be the same for a run to go on: another value would make another run."""

    model: str
    recipe: str
    labels: tuple[str, ...]
    height: int
    width: int
    channels: int
    decode: str
    resize: str
    data_sha256: str
    seed: int
    config: Config
    backend: str


class State(msgspec.Struct, frozen=True):
    """state.json of an unfinished run."""

    identity: Identity
    history: tuple[Epoch, ...]
    best: int  # epoch

    @property
    def done(self) -> int:
        """Epochs trained."""
        return len(self.history)


@dataclass(frozen=True)
class Fitted:
    """The network with its best weights."""

    model: keras.Model
    history: tuple[Epoch, ...]
    best: int  # epoch, from 1


def prepare(seed: int) -> None:
    """Seeds everything; asks for repeatable kernels on a CPU, for mixed precision where there is a GPU."""
    keras.utils.set_random_seed(seed)
    if _has_gpu():
        keras.mixed_precision.set_global_policy("mixed_float16")
    elif keras.backend.backend() == "tensorflow":
        import tensorflow  # only where it is the backend anyway

        tensorflow.config.experimental.enable_op_determinism()


def fit(
    build: Callable[[], keras.Model],
    data: DataSet,
    config: Config,
    identity: Identity,
    folder: Path,
    tick: Callable[[Epoch], None],
) -> Fitted:
    """Trains until the epochs are over or validation stops getting better; returns the best weights.

    folder: keeps the checkpoints; one that is there already with the same identity is gone on from.
    Raises TrainError for another identity and for a loss that is not finite.
    """
    train, val = data.part("train"), data.part("val")
    truth = data.truth[train]
    weights = _class_weights(truth, len(data.labels), config.balance)
    state = _resumed(folder, identity)
    model = _load(folder, state.done) if state.done else _compiled(build(), config, len(train))
    while state.done < config.epochs and not _stopped(state, config.patience):
        number = state.done + 1
        rng = np.random.default_rng([identity.seed, number])
        order = rng.permutation(len(train))
        images = augmented(data.pixels[train[order]], rng, config)
        measured = model.fit(
            images,
            truth[order],
            sample_weight=weights[truth[order]],
            batch_size=config.batch,
            initial_epoch=number - 1,
            epochs=number,
            shuffle=False,
            verbose=0,
        )
        epoch = _measured(model, measured.history, number, data.pixels[val], data.truth[val])
        state = _kept(folder, state, model, epoch, keep_last=config.patience == 0)
        tick(epoch)
    return Fitted(_load(folder, state.best), state.history, state.best)


def logits(model: keras.Model, pixels: Pixels) -> NDArray[np.float32]:
    """The model's answers [N, K] for uint8 pixels [N, H, W, C]."""
    return np.asarray(model.predict(pixels, batch_size=PREDICT_BATCH, verbose=0), dtype=np.float32)


def augmented(images: Pixels, rng: np.random.Generator, config: Config) -> Pixels:
    """Each image turned, flipped, shifted and zoomed at random about its centre, the edges reflected; uint8 in and out."""
    count, height, width, channels = images.shape
    angles = np.deg2rad(rng.uniform(-config.rotate_deg, config.rotate_deg, count))
    mirror = np.where(rng.random(count) < 0.5, -1.0, 1.0) if config.flip else np.ones(count)
    zoom = np.exp(rng.uniform(-config.zoom, config.zoom, count))
    shifts = rng.uniform(-config.shift_px, config.shift_px, (count, 2))
    cos, sin = zoom * np.cos(angles), zoom * np.sin(angles)
    linear = np.stack([np.stack([cos * mirror, -sin], 1), np.stack([sin * mirror, cos], 1)], 1)  # [N, 2, 2] on (x, y)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrices = np.concatenate([linear, (centre - linear @ centre + shifts)[:, :, None]], axis=2)
    result = np.empty_like(images)
    for k in range(count):
        warped = cv2.warpAffine(images[k], matrices[k], (width, height), borderMode=cv2.BORDER_REFLECT_101)
        result[k] = warped.reshape(height, width, channels)
    return result


def _compiled(model: keras.Model, config: Config, images: int) -> keras.Model:
    steps = -(-images // config.batch)  # an epoch's
    decay = max(1, (config.epochs - config.warmup) * steps)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if config.warmup else config.rate,
        decay,
        alpha=config.rate_end / config.rate,
        warmup_target=config.rate if config.warmup else None,
        warmup_steps=config.warmup * steps,
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=config.weight_decay),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
        jit_compile=_has_gpu() or "auto",
    )
    return model


def _class_weights(truth: NDArray[np.int64], classes: int, balance: bool) -> NDArray[np.float32]:
    """A weight for each class: 1, or such that every class weighs the same and the mean over images is 1."""
    counts = np.bincount(truth, minlength=classes)
    return (len(truth) / (classes * counts) if balance else np.ones(classes)).astype(np.float32)


def _measured(
    model: keras.Model, measured: dict[str, list[Any]], number: int, pixels: Pixels, truth: NDArray[np.int64]
) -> Epoch:
    answers = logits(model, pixels)
    loss = float(measured["loss"][-1])
    if not (np.isfinite(loss) and np.isfinite(answers).all()):
        met = f"epoch {number} ended with a loss of {loss}, or answers that are not numbers"
        raise TrainError("E-TRAIN-NAN", f"{met}: lower the rate, for instance --set rate=0.001")
    return Epoch(
        epoch=number,
        rate=float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)),
        loss=loss,
        accuracy=float(measured["accuracy"][-1]),
        val_loss=nll(answers, truth),
        val_accuracy=float((answers.argmax(axis=1) == truth).mean()),
    )


def _kept(folder: Path, state: State, model: keras.Model, epoch: Epoch, keep_last: bool) -> State:
    """Saves the epoch, then the state that names it, then drops what neither needs: a kill leaves a whole checkpoint."""
    model.save(_checkpoint(folder, epoch.epoch))
    history = (*state.history, epoch)
    best = epoch.epoch if keep_last else min(history, key=lambda line: line.val_loss).epoch
    state = State(identity=state.identity, history=history, best=best)
    write_whole(folder / STATE, msgspec.json.encode(state))
    for path in folder.glob("epoch-*.keras"):
        if path not in (_checkpoint(folder, state.done), _checkpoint(folder, state.best)):
            path.unlink()
    return state


def _stopped(state: State, patience: int) -> bool:
    return patience > 0 and state.done - state.best >= patience


def _resumed(folder: Path, identity: Identity) -> State:
    """The state that an interrupted run left, or a fresh one. Raises TrainError when it was another run."""
    if not (folder / STATE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return State(identity=identity, history=(), best=0)
    where = printable(str(folder))
    cure = "repeat the first command, give another --out, or remove that folder to start again"
    try:
        state = msgspec.json.decode((folder / STATE).read_bytes(), type=State)
    except msgspec.MsgspecError as error:
        raise TrainError("E-TRAIN-RESUME", f"{where}/{STATE}: {printable(str(error))}: {cure}") from None
    old, new = _fields(state.identity), _fields(identity)
    for field in old:
        if old[field] != new[field]:
            met = f"{where} is an unfinished run whose {field} is {_short(old[field])}, this one's is {_short(new[field])}"
            raise TrainError("E-TRAIN-RESUME", f"{met}: {cure}")
    return state


def _fields(identity: Identity) -> dict[str, object]:
    return {**msgspec.structs.asdict(identity), **msgspec.structs.asdict(identity.config), "config": None}


def _short(value: object) -> str:
    return printable(str(value))[:200]


def _checkpoint(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:04d}.keras"


def _load(folder: Path, epoch: int) -> keras.Model:
    return keras.saving.load_model(_checkpoint(folder, epoch), safe_mode=True)


def _has_gpu() -> bool:
    return any(not device.startswith("cpu") for device in keras.distribution.list_devices())
