"""Soft targets: a network learns what an ensemble of its own kind says of the training images, not their labels alone.

Distillation (Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015). A teacher is the same network with
another seed; the mean of several, over turned images, is a better classifier than any of them, and its answers say which labels
are doubtful. What it costs is training time alone: the network that ships stays as it is.
"""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_app.files import write_whole
from edge_app.frame import Pixels
from train.calibrate import probabilities
from train.config import Config
from train.feed import Examples
from train.fit import PREDICT_BATCH, Epoch, Identity, fit

_SEED_STEP = 1_000_003  # from one teacher to the next: a run with a neighbouring seed has other teachers
_DTYPE = "<f4"


def taught(
    train: Examples,
    val: Examples,
    build: Callable[[], keras.Model],
    config: Config,
    identity: Identity,
    folder: Path,
    tick: Callable[[int, Epoch], None],
) -> Examples:
    """The examples with targets that are config.teaching what config.teachers teachers say and for the rest what they were.

    folder: what an interrupted run left of its teachers is gone on from. tick: told the teacher, from 1, and its epoch.
    Raises TrainError as `fit` does.
    """
    numbers = range(1, config.teachers + 1)
    answers = [_answers(number, train, val, build, config, identity, folder, tick) for number in numbers]
    targets = config.teaching * np.mean(answers, axis=0) + (1 - config.teaching) * train.targets
    keras.utils.set_random_seed(identity.seed)  # as if there had been no teachers, or those of an earlier start
    return replace(train, targets=targets.astype(np.float32))


def begun(folder: Path) -> bool:
    """Whether an interrupted run left something of its teachers."""
    return any(folder.glob("teacher-*"))


def views(images: Pixels, config: Config) -> list[Pixels]:
    """The images [N, H, W, C] as they are, and the flips and quarter turns that training draws too and that keep H and W."""
    steps = 4 if images.shape[1] == images.shape[2] else 2
    turns = range(0, 4, 4 // steps) if config.rotate_deg == 180 else range(1)
    mirrored = (images, images[:, :, ::-1]) if config.flip else (images,)
    return [np.ascontiguousarray(np.rot90(one, turn, (1, 2))) for one in mirrored for turn in turns]


def _answers(
    number: int,
    train: Examples,
    val: Examples,
    build: Callable[[], keras.Model],
    config: Config,
    identity: Identity,
    folder: Path,
    tick: Callable[[int, Epoch], None],
) -> NDArray[np.float32]:
    """What one teacher says of the training images, as probabilities [N, K]."""
    alone = msgspec.structs.replace(config, teachers=0)
    own = msgspec.structs.replace(identity, config=alone, seed=(identity.seed + _SEED_STEP * number) % 2**31)
    # By name, so that the answers of another run's teachers are not found.
    name = f"teacher-{number}-{hashlib.sha256(msgspec.json.encode(own)).hexdigest()[:16]}"
    kept = folder / f"{name}.answers"
    if not kept.exists():
        keras.utils.set_random_seed(own.seed)
        model = fit(build, train, val, alone, own, folder / name, lambda epoch: tick(number, epoch)).model
        write_whole(kept, _seen(model, train, config).astype(_DTYPE).tobytes())
    shutil.rmtree(folder / name, ignore_errors=True)
    return np.frombuffer(kept.read_bytes(), _DTYPE).reshape(train.targets.shape)


def _seen(model: keras.Model, train: Examples, config: Config) -> NDArray[np.float64]:
    """Probabilities [N, K] of the mean logits over views."""
    found = []
    for at in range(0, len(train.rows), PREDICT_BATCH):
        images = train.images.take(train.rows[at : at + PREDICT_BATCH])
        found.append(np.mean([model.predict_on_batch(view) for view in views(images, config)], axis=0))
    return probabilities(np.concatenate(found))
