"""The steps of a training that a sweep takes too: images, identity, network."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import TrainError, printable
from limiar.edge_app.system.machine import available_mb
from limiar.train.config import Config, check_input, within
from limiar.train.data.feed import labelled
from limiar.train.data.reviewed import Parent, load_reviewed
from limiar.train.dataset.image_folder import DataSet, default_positive, load
from limiar.train.dataset.image_store import InMemory, Keep, OnDisk, Shelf
from limiar.train.dataset.splits import Shares
from limiar.train.fit import models
from limiar.train.fit.fit import Fitted, Identity, fit, resumed
from limiar.train.fit.network import load_network
from limiar.train.record import run_folder
from limiar.train.record.run_folder import Lineage
from limiar.train.run.request import Listener, TrainRequest


def gathered(request: TrainRequest, keep: Keep, listener: Listener) -> tuple[DataSet, Lineage | None]:
    """The images, read, checked and split. keep: makes the store that they are put in. Raises DataError, TrainError."""
    check_input(request.input, request.model)
    config = request.config
    shares = Shares(test=config.test_share, val=config.val_share, minimum=config.min_per_class, seed=request.seed)
    lineage: Lineage | None = None
    if request.parent is None:
        data, notes = load(request.folder, request.table, request.input, shares, listener.image, keep)
    else:
        data, lineage, notes = load_reviewed(request.folder, request.parent, listener.image, keep)
    for note in notes:
        listener.note(note)
    return data, lineage


def within_images(request: TrainRequest, data: DataSet) -> TrainRequest:
    """The same, with the epochs that this many training images get."""
    return replace(request, config=within(request.config, len(data.part("train"))))


def identified(request: TrainRequest, data: DataSet, splits: bytes, lineage: Lineage | None) -> Identity:
    """What identifies this run. splits: the bytes of splits.csv."""
    spec = request.input
    return Identity(
        model=request.model,
        recipe=request.recipe,
        labels=data.labels,
        height=spec.height,
        width=spec.width,
        channels=spec.channels,
        decode=spec.decode,
        resize=spec.resize,
        grey_max=spec.grey_max,
        dicom=spec.dicom,
        data_sha256=hashlib.sha256(splits).hexdigest(),
        seed=request.seed,
        config=request.config,
        backend=keras.backend.backend(),
        parent=lineage.model_sha256 if lineage else "",
    )


def keeping(partial: Path, config: Config, listener: Listener) -> Keep:
    """Keeps images in memory, or in a file of the unfinished run if they would take too much of it."""

    def keep(count: int, spec: InputSpec) -> Shelf:
        need_mb = count * spec.height * spec.width * spec.channels / 2**20
        if need_mb <= (limit := config.memory_mb or available_mb() / 4):
            return InMemory(count, spec)
        where = printable(str(partial))
        met = f"{count} images take {need_mb:.1f} MB, more than {limit:.1f} MB"
        listener.note(f"{met}: they are read from {where} (--set memory_mb=N)")
        return OnDisk(partial, count, spec)

    return keep


def positive_of(asked: str | None, labels: tuple[str, ...]) -> str | None:
    """The positive one of two labels: as asked, else "pos", else the second in name order. None for more. Raises TrainError."""
    if asked is not None and asked not in labels:
        known = ", ".join(printable(label) for label in labels)
        raise TrainError("E-TRAIN-POSITIVE", f"--positive {printable(asked)} is not a label: choose one of {known}")
    if asked is not None and len(labels) != 2:
        raise TrainError("E-TRAIN-POSITIVE", f"--positive is for two labels, but there are {len(labels)}: leave it out")
    return asked or default_positive(labels)


def trained(
    request: TrainRequest,
    data: DataSet,
    identity: Identity,
    partial: Path,
    listener: Listener,
    told: Callable[[bytes], bytes] | None = None,
) -> Fitted:
    """Trains the network that the identity asks for, from the last epoch in `partial`. Raises TrainError.

    told: with several hosts, passes what host 0 says to each.
    """

    def build() -> keras.Model:
        if request.parent is None:
            return models.build(request.model, request.input, len(data.labels), config.dropout)
        return models.trainable(_network(request.parent), request.parent.run.temperature, config.dropout)

    config, classes = identity.config, len(identity.labels)
    learnt, held = data.part("train"), data.part("val")
    train = labelled(data.images, learnt, data.truth[learnt], classes, config.balance, config.smoothing)
    val = labelled(data.images, held, data.truth[held], classes)
    state = resumed(partial, identity)
    if state.done:
        listener.note(f"resuming after epoch {state.done} of at most {config.epochs}, kept in {printable(str(partial))}")
    listener.begin(state)
    try:
        return fit(build, train, val, config, identity, partial, listener.epoch, told)
    except TrainError as error:
        if error.code == "E-TRAIN-NAN":  # it would only end the same way
            shutil.rmtree(partial, ignore_errors=True)
        raise


def _network(parent: Parent) -> keras.Model:
    """model.keras of the RUN that is continued. Raises RunError, and TrainError if it is not a chain of layers."""
    data = run_folder.read_model(parent.folder, parent.run)
    where = printable(str(parent.folder / run_folder.MODEL))
    model = load_network(data, where, "E-TRAIN-FROM", "train from images")
    if not isinstance(model, keras.Sequential):
        raise TrainError("E-TRAIN-FROM", f"{where} is not a network that limiar made: train from images")
    return model
