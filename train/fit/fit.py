"""The training loop: one straight pass over epochs, a checkpoint after each, Keras 3 and nothing else.

Backend-neutral: KERAS_BACKEND may be tensorflow or jax. Chance comes from (seed, epoch, batch) alone, so that an
interrupted run continues where it stopped, with the numbers it would have drawn.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.bundle.manifest import DicomSpec
from limiar.edge_app.errors import TrainError, printable
from limiar.edge_app.inference.softmax import softmax
from limiar.edge_app.system.files import read_bounded, sync_file, write_whole
from limiar.train.config import Config
from limiar.train.data.feed import Examples, batches
from limiar.train.dataset.image_store import ImageStore
from limiar.train.fit import ctrl_c
from limiar.train.fit.importing import quiet
from limiar.train.fit.network import CHECKPOINT_LIMIT, load_network
from limiar.train.fit.unfinished import STATE
from limiar.train.record.metrics import nll
from limiar.train.record.run_folder import Epoch

STATE_LIMIT = 64 << 20  # bytes; the longest training that is allowed takes half of it
CURE = "repeat the first command, give another --out, or remove that folder to start again"
PREDICT_BATCH = 256


class Identity(msgspec.Struct, frozen=True):
    """What must be the same for a run to be resumed: another value would make another run."""

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
    parent: str = ""  # sha256 of the network that is continued; "": random weights
    grey_max: int | msgspec.UnsetType = msgspec.UNSET
    dicom: DicomSpec | msgspec.UnsetType = msgspec.UNSET


class RunState(msgspec.Struct, frozen=True):
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


def prepare(seed: int, config: Config) -> None:
    """Seeds everything; sets the precision; asks for repeatable kernels on a CPU. Raises TrainError."""
    on_device(config)
    with quiet():  # imports TensorFlow, even if JAX computes
        keras.utils.set_random_seed(seed)
    half = "bfloat16" if keras.backend.backend() == "jax" else "float16"  # bfloat16 needs no scaling of the loss
    precision = config.precision if config.precision != "auto" else half if _has_accelerator() else "float32"
    keras.mixed_precision.set_global_policy("float32" if precision == "float32" else f"mixed_{precision}")
    if not _has_accelerator() and keras.backend.backend() == "tensorflow":
        import tensorflow  # only if it is the backend

        tensorflow.config.experimental.enable_op_determinism()
        tensorflow.get_logger().addFilter(_unexpected)


def _unexpected(record: logging.LogRecord) -> bool:
    """Drops a warning: a process that trains several networks (`limiar sweep`) traces each of them anew."""
    return "tf.function retracing" not in record.getMessage()


def fit(
    build: Callable[[], keras.Model],
    train: Examples,
    val: Examples,
    config: Config,
    identity: Identity,
    folder: Path,
    tick: Callable[[Epoch], None],
    told: Callable[[bytes], bytes] | None = None,
) -> Fitted:
    """Trains until the epochs are over or validation stops getting better; returns the best weights.

    folder: keeps the checkpoints; training continues from one of the same identity.
    told: with several hosts, passes what host 0 says to each, so that all decide the same.
    Raises TrainError for another identity and for a loss that is not finite.
    """
    steps = -(-len(train.rows) // config.batch)  # an epoch's
    state = resumed(folder, identity)
    model = _load(folder, state.done) if state.done else compiled(build(), config, steps)
    train_epoch = _epochs(model, train, config, identity.seed)
    while state.done < config.epochs and not _stopped(state, config.patience):
        number = state.done + 1
        _seed_dropout(model, identity.seed, number)
        loss, accuracy = train_epoch(number)
        ctrl_c.check()
        epoch = _measured(model, loss, accuracy, number, val)
        if told:
            epoch = msgspec.json.decode(told(msgspec.json.encode(epoch)), type=Epoch)
        state = _kept(folder, state, model, epoch, keep_last=config.patience == 0)
        tick(epoch)
    return Fitted(_load(folder, state.best), state.history, state.best)


def unfinished(folder: Path) -> RunState | None:
    """What an interrupted run left; None if no epoch was finished. Raises TrainError if it cannot be read."""
    path = folder / STATE
    try:
        return msgspec.json.decode(read_bounded(path, STATE_LIMIT), type=RunState)
    except FileNotFoundError:
        return None
    except OSError as error:  # a folder cannot be made there either
        met = f"{printable(str(folder))}: {error.strerror}"
        raise TrainError("E-TRAIN-OUT", f"{met}: give --out a name in a folder that can be written") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise TrainError("E-TRAIN-RESUME", f"{printable(str(path))}: {printable(str(error))}: {CURE}") from None


def logits(model: keras.Model, images: ImageStore, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The model's answers [len(rows), K]; a batch of images at a time is in memory."""
    answers = []
    for at in range(0, len(rows), PREDICT_BATCH):
        answers.append(model.predict_on_batch(images.take(rows[at : at + PREDICT_BATCH])))
        ctrl_c.check()
    return np.concatenate(answers)


def on_device(config: Config) -> bool:
    """Whether the device that trains also augments. Raises TrainError if it is asked to and cannot."""
    jax = keras.backend.backend() == "jax"
    if config.on_device == "yes" and not jax:
        met = f"on_device=yes needs JAX, but Keras uses {keras.backend.backend()}"
        raise TrainError("E-TRAIN-BACKEND", f"{met}: run KERAS_BACKEND=jax limiar train …")
    several = jax and len(keras.distribution.list_devices()) > 1
    return jax and (config.on_device == "yes" or (config.on_device == "auto" and (_has_accelerator() or several)))


def share_checkpoint(folder: Path, told: Callable[[bytes], bytes]) -> None:
    """Gives every host the checkpoint that host 0 resumes from, if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {path.name: path.read_bytes() for path in (folder / STATE, *folder.glob("epoch-*.keras")) if path.exists()}
    files = msgspec.msgpack.decode(told(msgspec.msgpack.encode(own)), type=dict[str, bytes])
    for name in own.keys() - files.keys():
        (folder / name).unlink()
    for name in sorted(files):  # the state last
        write_whole(folder / name, files[name])


def _epochs(model: keras.Model, train: Examples, config: Config, seed: int) -> Callable[[int], tuple[float, float]]:
    """A function that trains an epoch, counted from 1, and returns its (loss, accuracy)."""
    if on_device(config):
        from limiar.train.device.on_device import DeviceEpochs  # JAX, only if it is the backend

        return DeviceEpochs(model, train, config, seed).train

    # Not at a batch's end: there Keras would wait for its loss, and JAX could not work ahead.
    heard = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: ctrl_c.check())

    def by_fit(number: int) -> tuple[float, float]:
        steps = -(-len(train.rows) // config.batch)
        fed = batches(train, config, seed, number)
        measured = model.fit(
            fed, steps_per_epoch=steps, initial_epoch=number - 1, epochs=number, shuffle=False, verbose=0, callbacks=[heard]
        )
        return float(measured.history["loss"][-1]), float(measured.history["accuracy"][-1])

    return by_fit


def compiled(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """The model with the recipe's optimizer and loss. steps: in an epoch."""
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
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
        jit_compile=_has_accelerator() or "auto",
    )
    return model


def _seed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """Seeds dropout for each epoch: Keras does not save a layer's random state, so a loaded model would draw other numbers."""
    rng = np.random.default_rng([seed, epoch])
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout) and layer.rate > 0:  # otherwise it has no random state
            layer.seed_generator.state.assign(rng.integers(0, 2**31, layer.seed_generator.state.shape))


def _measured(model: keras.Model, loss: float, accuracy: float, number: int, val: Examples) -> Epoch:
    answers, truth = logits(model, val.images, val.rows), val.targets.argmax(axis=1)
    if not (np.isfinite(loss) and np.isfinite(answers).all()):
        what = "answers that are not finite numbers" if np.isfinite(loss) else f"a loss of {loss}"
        met = f"epoch {number} ended with {what}"
        raise TrainError("E-TRAIN-NAN", f"{met}: lower the rate, for instance --set rate=0.001")
    return Epoch(
        epoch=number,
        rate=float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)),
        loss=loss,
        accuracy=accuracy,
        val_loss=nll(truth, softmax(answers)),
        val_accuracy=float((answers.argmax(axis=1) == truth).mean()),
    )


def _kept(folder: Path, state: RunState, model: keras.Model, epoch: Epoch, keep_last: bool) -> RunState:
    """Saves the epoch, then the state that names it, then drops what neither needs: a kill leaves a whole checkpoint."""
    model.save(_checkpoint(folder, epoch.epoch))
    sync_file(_checkpoint(folder, epoch.epoch))  # after a power cut, the state must not name what never reached the disk
    history = (*state.history, epoch)
    best = epoch.epoch if keep_last else min(history, key=lambda line: line.val_loss).epoch
    state = RunState(identity=state.identity, history=history, best=best)
    write_whole(folder / STATE, msgspec.json.encode(state))
    for path in folder.glob("epoch-*.keras"):
        if path not in (_checkpoint(folder, state.done), _checkpoint(folder, state.best)):
            path.unlink()
    return state


def _stopped(state: RunState, patience: int) -> bool:
    return patience > 0 and state.done - state.best >= patience


def resumed(folder: Path, identity: Identity) -> RunState:
    """The state that an interrupted run left, or a fresh one. Raises TrainError when it was another run."""
    state = unfinished(folder)
    if state is None:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("epoch-*.keras"):  # of a run that was killed in its first epoch
            path.unlink()
        return RunState(identity=identity, history=(), best=0)
    where = printable(str(folder))
    old, new = _fields(state.identity), _fields(identity)
    for field in old:
        if old[field] != new[field]:
            met = f"{where} is an unfinished run with another {field}: {_short(old[field])}, not {_short(new[field])}"
            raise TrainError("E-TRAIN-RESUME", f"{met}: {CURE}")
    return state


def _fields(identity: Identity) -> dict[str, object]:
    # Where the images are kept during training changes no number.
    return {**msgspec.structs.asdict(identity), **msgspec.structs.asdict(identity.config), "config": None, "memory_mb": None}


def _short(value: object) -> str:
    return printable(str(value))[:200]


def _checkpoint(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:04d}.keras"


def _load(folder: Path, epoch: int) -> keras.Model:
    path = _checkpoint(folder, epoch)
    where = printable(str(path))
    try:
        data = read_bounded(path, CHECKPOINT_LIMIT)
    except OSError as error:
        raise TrainError("E-TRAIN-RESUME", f"{where}: {error.strerror}: {CURE}") from None
    return load_network(data, where, "E-TRAIN-RESUME", CURE, compiled=True)


def _has_accelerator() -> bool:
    return any(not device.startswith("cpu") for device in keras.distribution.list_devices())
