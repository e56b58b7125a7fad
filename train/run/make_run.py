"""One training, from a data folder to a whole RUN folder."""

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np

from limiar.edge_app.errors import TrainError, printable
from limiar.edge_app.image import statistics as envelope
from limiar.train.config import Config, Hosts
from limiar.train.dataset.image_folder import DataSet
from limiar.train.dataset.image_store import RowsAlone
from limiar.train.fit import ctrl_c, models
from limiar.train.fit.calibrate import fit_temperature
from limiar.train.fit.fit import Fitted, Identity, logits, prepare, share_checkpoint, unfinished
from limiar.train.fit.unfinished import partial_folder
from limiar.train.record import run_folder
from limiar.train.record.evidence import evidence
from limiar.train.record.provenance import commit, tool_versions
from limiar.train.record.run_folder import Lineage, Run, TrainingData
from limiar.train.run.request import Listener, TrainRequest
from limiar.train.run.steps import gathered, identified, keeping, positive_of, trained, within_images
from limiar.train.run.write_run import remove_partial, write_run

_ROUNDING = 1e-3  # of logits: float32 sums in another order


@dataclass(frozen=True)
class Trained:
    """A network with its best weights, and what it was trained on."""

    data: DataSet
    splits: bytes  # splits.csv
    lineage: Lineage | None
    fitted: Fitted
    config: Config  # with the epochs that it was trained for: see config.within


@ctrl_c.insisted()
def make_run(request: TrainRequest, listener: Listener) -> Run:
    """Images -> RUN at request.out. Raises DataError and TrainError.

    After an error the same command continues, unless it would only end the same way: E-TRAIN-NAN, E-TRAIN-ONE-CLASS.
    """
    if os.path.lexists(request.out):  # also for a link to nothing: a RUN could not take its name
        return _whole(request, listener)
    partial = partial_folder(request.out)
    if request.resume and unfinished(partial) is None:
        met = f"--resume: {printable(str(partial))} has no finished epoch to resume from"
        raise TrainError("E-TRAIN-NOTHING", f"{met}: check --out, or leave out --resume to start")
    with _place(partial):
        made = _train_network(request, partial, listener)
    data, fitted, config = made.data, made.fitted, made.config
    raw = logits(fitted.model, data.images, np.arange(len(data.rows)))
    _check_classes(data, raw, partial)
    val = data.part("val")
    temperature = fit_temperature(raw[val], data.truth[val], config.caution) if config.calibrate else 1.0
    model, answers = _deployable(fitted, data, raw, temperature)
    digest = hashlib.sha256(made.splits).hexdigest()
    run = Run(
        model=request.model,
        recipe=request.recipe,
        labels=data.labels,
        positive=positive_of(request.positive, data.labels),
        input=request.input,
        data=TrainingData(folder=printable(str(request.folder.resolve())), images=len(data.rows), sha256=digest),
        seed=request.seed,
        config=msgspec.structs.asdict(config),
        temperature=temperature,
        epochs=len(fitted.history),
        best_epoch=fitted.best,
        versions=tool_versions(keras.backend.backend()),
        commit=commit(),
        model_sha256="0" * 64,
        envelope=envelope.measure(data.images.take(np.array([k])) for k in data.part("train")),
        parent=made.lineage,
    )
    ctrl_c.check()
    write_run(request.out, partial, run, model, data, answers, fitted.history, made.splits, listener.note)
    return run_folder.read_run(request.out)


@ctrl_c.insisted()
def assist(request: TrainRequest, listener: Listener) -> None:
    """Computes this host's share of a run that host 0 makes, and leaves no file. Raises as `make_run` does."""
    partial = partial_folder(request.out)
    with _place(partial):
        _train_network(request, partial, listener)
    shutil.rmtree(partial)


@contextmanager
def _place(partial: Path) -> Iterator[None]:
    """Makes the folder of an unfinished run; removes it if it stays empty. Raises TrainError if it cannot be made."""
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        met = f"{printable(str(partial))}: {error.strerror}"
        raise TrainError("E-TRAIN-OUT", f"{met}: give --out a name in a folder that can be written") from None
    try:
        yield
    finally:
        with suppress(OSError):
            partial.rmdir()


def _train_network(request: TrainRequest, partial: Path, listener: Listener) -> Trained:
    data, lineage = gathered(request, keeping(partial, request.config, listener), listener)
    request = within_images(request, data)
    positive_of(request.positive, data.labels)  # refuses before it trains
    if (found := evidence(Counter(row.label for row in data.rows if row.part == "test"))) and not found.enough:
        listener.note(found.text())
    splits = run_folder.splits_csv(data.rows)
    identity = identified(request, data, splits, lineage)
    told = _join(request.hosts, identity, listener.note) if request.hosts else None
    prepare(request.seed, request.config)
    if told:
        share_checkpoint(partial, told)
    fitted = trained(request, data, identity, partial, listener, told)
    if request.hosts:
        _leave()
    return Trained(data, splits, lineage, fitted, request.config)


def _join(hosts: Hosts, identity: Identity, note: Callable[[str], None]) -> Callable[[bytes], bytes]:
    """Waits for the other hosts and checks that all were given the same; returns what broadcasts from host 0."""
    if identity.backend != "jax" or identity.config.on_device == "no":
        met = f"--hosts needs JAX and on_device=yes, not {identity.backend} with on_device={identity.config.on_device}"
        raise TrainError("E-TRAIN-BACKEND", f"{met}: run KERAS_BACKEND=jax limiar train …")
    from limiar.train.device import hosts as runtime  # JAX, only if it is the backend

    note(f"host {hosts.own} of {hosts.count} is waiting for the others at {printable(hosts.coordinator)}")
    runtime.join(hosts)
    options = msgspec.json.encode(msgspec.structs.replace(identity, data_sha256=""))
    runtime.check_same("images", bytes.fromhex(identity.data_sha256))
    runtime.check_same("options", hashlib.sha256(options).digest())
    return runtime.told


def _leave() -> None:
    from limiar.train.device.hosts import leave

    leave()


def _whole(request: TrainRequest, listener: Listener) -> Run:
    """The RUN that is already there, if --resume asks for it.

    Raises TrainError if it is another one or --resume was not given, and DataError.
    """
    out = printable(str(request.out))
    if not request.resume:
        raise TrainError("E-TRAIN-OUT", f"{out} exists: give another --out, or remove it first")
    run = run_folder.read_run(request.out)
    data, lineage = gathered(request, RowsAlone, listener)  # a refusal must not leave images beside a RUN that is whole
    request = within_images(request, data)
    of_run = (run.model, run.input, run.recipe, run.seed, run.positive, run.parent, run.data.sha256, _numbers(run.config))
    digest, positive = hashlib.sha256(run_folder.splits_csv(data.rows)).hexdigest(), positive_of(request.positive, data.labels)
    asked = (request.model, request.input, request.recipe, request.seed, positive, lineage, digest)
    if of_run != (*asked, _numbers(msgspec.structs.asdict(request.config))):
        raise TrainError("E-TRAIN-OUT", f"{out} is a finished run of another command: give another --out, or remove it first")
    remove_partial(partial_folder(request.out))  # left over if the run was killed between its last two steps
    listener.note(f"{out} is already finished: nothing to do")
    return run


def _numbers(config: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a RUN, with defaults for those that it is too old to have. Where its images were kept changes nothing."""
    return msgspec.structs.asdict(Config()) | config | {"memory_mb": None}


def _check_classes(data: DataSet, answers: np.ndarray, partial: Path) -> None:
    given = set(answers[data.part("val")].argmax(axis=1).tolist())
    if len(given) == 1:
        shutil.rmtree(partial, ignore_errors=True)
        met = f"the model answers {printable(data.labels[given.pop()])} for every validation image"
        cure = "what was trained was removed: train longer or with another rate (--set epochs=…, --set rate=…)"
        raise TrainError("E-TRAIN-ONE-CLASS", f"{met}: {cure}")


def _deployable(fitted: Fitted, data: DataSet, raw: np.ndarray, temperature: float) -> tuple[keras.Model, np.ndarray]:
    """The network to ship and its logits [N, K], checked against those of the network that was trained."""
    model = models.deployable(fitted.model, temperature)
    answers = logits(model, data.images, np.arange(len(data.rows)))
    mixed = keras.mixed_precision.dtype_policy().name != "float32"  # then the trained one computed in half precision
    apart = float(np.abs(answers - raw / temperature).max())
    allowed = (100 if mixed else 1) * _ROUNDING * max(1.0, float(np.abs(answers).max()))
    if apart > allowed:
        raise TrainError("E-TRAIN-FOLD", f"folding changed a logit by {apart:.3g}: this is a bug in limiar, please report it")
    return model, answers
