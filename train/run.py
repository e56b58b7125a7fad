"""One training run from a data folder to a RUN folder that appears whole."""

import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import keras
import msgspec
import numpy as np

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import TrainError, printable
from limiar.edge_app.image import statistics as envelope
from limiar.edge_app.system.files import sync_directory, write_whole
from limiar.edge_app.system.machine import available_mb
from limiar.edge_app.text import for_html, for_terminal
from limiar.train.config import Config, Hosts, check_input, within
from limiar.train.data.feed import labelled
from limiar.train.data.reviewed import Parent, load_reviewed
from limiar.train.dataset.image_folder import DataSet, default_positive, load
from limiar.train.dataset.image_store import InMemory, Keep, OnDisk, RowsAlone, Shelf
from limiar.train.dataset.splits import Shares
from limiar.train.evidence import evidence
from limiar.train.fit import models
from limiar.train.fit.calibrate import fit_temperature, probabilities
from limiar.train.fit.fit import Epoch, Fitted, Identity, State, fit, logits, prepare, resumed, share_checkpoint, unfinished
from limiar.train.fit.network import load_network
from limiar.train.fit.unfinished import STATE, partial_folder
from limiar.train.record import run_folder
from limiar.train.record.metrics import class_metrics
from limiar.train.record.operating_points import Scores
from limiar.train.record.run_folder import Lineage, PredictionRow, Run, TrainingData
from limiar.train.report.page import page
from limiar.train.report.referral import referrals
from limiar.train.report.report import render

TOOLS = ("limiar", "keras", "tensorflow", "jax", "torch", "numpy", "opencv-python-headless", "pillow")
FIGURES = 4  # of a split on the terminal; of many classes the one that is found least is named
_ROUNDING = 1e-3  # of logits: float32 sums in another order


@dataclass(frozen=True)
class Request:
    """What a person asked for."""

    folder: Path
    out: Path
    table: Path | None  # --csv
    model: str
    input: InputSpec
    recipe: str
    positive: str | None
    seed: int
    config: Config
    resume: bool = False  # --resume: go on, or refuse
    parent: Parent | None = None  # --from and --add
    hosts: Hosts | None = None

    def continuing(self, parent: Parent, config: Config) -> Self:
        """The same with what the parent decides."""
        run = parent.run
        return replace(
            self,
            parent=parent,
            config=config,
            model=run.model,
            input=run.input,
            recipe=run.recipe,
            positive=run.positive,
        )


@dataclass(frozen=True)
class Trained:
    """A network with its best weights, and what it was trained on."""

    data: DataSet
    splits: bytes  # splits.csv
    lineage: Lineage | None
    fitted: Fitted
    config: Config  # as it was trained by: see config.within


@dataclass(frozen=True)
class Progress:
    """How the run tells a person what it is doing."""

    note: Callable[[str], None]  # one line
    image: Callable[[int, int], None]  # images read, in all
    epoch: Callable[[Epoch], None]
    begin: Callable[[State], None] = lambda state: None  # before the first epoch, or the first after an interruption


def train(request: Request, progress: Progress) -> Run:
    """Images -> RUN at request.out. Raises DataError and TrainError.

    What was trained so far stays for the same command, save where that would end the same way: E-TRAIN-NAN, E-TRAIN-ONE-CLASS.
    """
    if os.path.lexists(request.out):  # also a link to nothing: a RUN could not take its name
        return _whole(request, progress)
    partial = partial_folder(request.out)
    if request.resume and unfinished(partial) is None:
        met = f"--resume: {printable(str(partial))} holds no epoch to go on from"
        raise TrainError("E-TRAIN-NOTHING", f"{met}: check --out, or leave --resume out to start")
    with _place(partial):
        made = _train_network(request, partial, progress)
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
        versions=tool_versions(),
        commit=commit(),
        model_sha256="0" * 64,
        envelope=envelope.measure(data.images.take(np.array([k])) for k in data.part("train")),
        parent=made.lineage,
    )
    _publish(request.out, partial, run, model, data, answers, fitted.history, made.splits, progress.note)
    return run_folder.read_run(request.out)


def assist(request: Request, progress: Progress) -> None:
    """Computes this host's share of a run that host 0 makes, and leaves no file. Raises as `train` does."""
    partial = partial_folder(request.out)
    with _place(partial):
        _train_network(request, partial, progress)
    shutil.rmtree(partial)


@contextmanager
def _place(partial: Path) -> Iterator[None]:
    """The folder of an unfinished run, gone again where nothing came to lie in it. Raises TrainError: it cannot be made."""
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


def _train_network(request: Request, partial: Path, progress: Progress) -> Trained:
    data, lineage = gathered(request, keeping(partial, request.config, progress), progress)
    request = within_images(request, data)
    positive_of(request.positive, data.labels)  # refused before it trains
    if (found := evidence(Counter(row.label for row in data.rows if row.part == "test"))) and not found.enough:
        progress.note(found.text())
    splits = run_folder.splits_csv(data.rows)
    identity = identified(request, data, splits, lineage)
    told = _join(request.hosts, identity, progress.note) if request.hosts else None
    prepare(request.seed, request.config)
    if told:
        share_checkpoint(partial, told)
    fitted = trained(request, data, identity, partial, progress, told)
    if request.hosts:
        _leave()
    return Trained(data, splits, lineage, fitted, request.config)


def _join(hosts: Hosts, identity: Identity, note: Callable[[str], None]) -> Callable[[bytes], bytes]:
    """Waits for the other hosts, makes sure that all were given the same; returns what passes on what host 0 says."""
    if identity.backend != "jax" or identity.config.on_device == "no":
        met = f"--hosts needs JAX and on_device=yes, this is {identity.backend} with on_device={identity.config.on_device}"
        raise TrainError("E-TRAIN-BACKEND", f"{met}: KERAS_BACKEND=jax limiar train …")
    from limiar.train.device import hosts as runtime  # JAX, only where it is the backend

    note(f"host {hosts.own} of {hosts.count} waits for the others at {printable(hosts.coordinator)}")
    runtime.join(hosts)
    options = msgspec.json.encode(msgspec.structs.replace(identity, data_sha256=""))
    runtime.check_same("images", bytes.fromhex(identity.data_sha256))
    runtime.check_same("options", hashlib.sha256(options).digest())
    return runtime.told


def _leave() -> None:
    from limiar.train.device.hosts import leave

    leave()


def _whole(request: Request, progress: Progress) -> Run:
    """The RUN that is there already, where --resume asks for its rest. Raises TrainError: it is another one, or unasked.

    Also raises DataError.
    """
    out = printable(str(request.out))
    if not request.resume:
        raise TrainError("E-TRAIN-OUT", f"{out} exists: give another --out, or remove it first")
    run = run_folder.read_run(request.out)
    data, lineage = gathered(request, RowsAlone, progress)  # a refusal must not leave images beside a RUN that is whole
    request = within_images(request, data)
    of_run = (run.model, run.input, run.recipe, run.seed, run.positive, run.parent, run.data.sha256, _numbers(run.config))
    digest, positive = hashlib.sha256(run_folder.splits_csv(data.rows)).hexdigest(), positive_of(request.positive, data.labels)
    asked = (request.model, request.input, request.recipe, request.seed, positive, lineage, digest)
    if of_run != (*asked, _numbers(msgspec.structs.asdict(request.config))):
        raise TrainError("E-TRAIN-OUT", f"{out} is a finished run of another command: give another --out, or remove it first")
    _remove(partial_folder(request.out))  # left by a kill between the last two steps
    progress.note(f"{out} is finished already: nothing is left to do")
    return run


def _numbers(config: dict[str, Any]) -> dict[str, Any]:
    """What a RUN was trained with, with what is new since. Where its images lay meanwhile changes nothing."""
    return msgspec.structs.asdict(Config()) | config | {"memory_mb": None}


def gathered(request: Request, keep: Keep, progress: Progress) -> tuple[DataSet, Lineage | None]:
    """The images, read, checked and split. keep: makes the store that they are put in. Raises DataError, TrainError."""
    check_input(request.input)
    config = request.config
    shares = Shares(test=config.test_share, val=config.val_share, minimum=config.min_per_class, seed=request.seed)
    lineage: Lineage | None = None
    if request.parent is None:
        data, notes = load(request.folder, request.table, request.input, shares, progress.image, keep)
    else:
        data, lineage, notes = load_reviewed(request.folder, request.parent, progress.image, keep)
    for note in notes:
        progress.note(note)
    return data, lineage


def within_images(request: Request, data: DataSet) -> Request:
    """With the epochs that so many training images get."""
    return replace(request, config=within(request.config, len(data.part("train"))))


def identified(request: Request, data: DataSet, splits: bytes, lineage: Lineage | None) -> Identity:
    """What makes this run this one. splits: the bytes of splits.csv."""
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
        data_sha256=hashlib.sha256(splits).hexdigest(),
        seed=request.seed,
        config=request.config,
        backend=keras.backend.backend(),
        parent=lineage.model_sha256 if lineage else "",
    )


def tool_versions() -> dict[str, str]:
    """Of everything that had a part in the numbers (the course's watermark)."""
    versions = {"python": platform.python_version(), "machine": platform.machine(), "backend": keras.backend.backend()}
    for tool in TOOLS:
        try:
            versions[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return versions


def commit() -> str:
    """The commit of limiar's source tree, "-dirty" where it was changed; "unknown" when installed from a wheel."""
    tree = Path(__file__).resolve().parent.parent
    if not (tree / ".git").exists():
        return "unknown"
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip() or "unknown"


def keeping(partial: Path, config: Config, progress: Progress) -> Keep:
    """Images in memory, or where they take too much of it in a file of the unfinished run."""

    def keep(count: int, spec: InputSpec) -> Shelf:
        need_mb = count * spec.height * spec.width * spec.channels / 2**20
        if need_mb <= (limit := config.memory_mb or available_mb() / 4):
            return InMemory(count, spec)
        where = printable(str(partial))
        met = f"{count} images take {need_mb:.1f} MB, over {limit:.1f} MB"
        progress.note(f"{met}: they are read from {where} (--set memory_mb=N)")
        return OnDisk(partial, count, spec)

    return keep


def positive_of(asked: str | None, labels: tuple[str, ...]) -> str | None:
    """The positive of two classes: as asked, else "pos", else the second in name order; None of more. Raises TrainError."""
    if asked is not None and asked not in labels:
        known = ", ".join(printable(label) for label in labels)
        raise TrainError("E-TRAIN-POSITIVE", f"--positive {printable(asked)} is not a label: choose one of {known}")
    if asked is not None and len(labels) != 2:
        raise TrainError("E-TRAIN-POSITIVE", f"--positive is for two labels, here are {len(labels)}: leave it out")
    return asked or default_positive(labels)


def trained(
    request: Request,
    data: DataSet,
    identity: Identity,
    partial: Path,
    progress: Progress,
    told: Callable[[bytes], bytes] | None = None,
) -> Fitted:
    """The network that the identity asks for, from where `partial` has got to. Raises TrainError.

    told: of several hosts, passes what host 0 says to each.
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
        progress.note(f"goes on after epoch {state.done} of at most {config.epochs}, kept in {printable(str(partial))}")
    progress.begin(state)
    try:
        return fit(build, train, val, config, identity, partial, progress.epoch, told)
    except TrainError as error:
        if error.code == "E-TRAIN-NAN":  # nothing there to go on from
            shutil.rmtree(partial, ignore_errors=True)
        raise


def _network(parent: Parent) -> keras.Model:
    """model.keras of the RUN that is continued. Raises RunError, and TrainError where it is no chain of layers."""
    data = run_folder.read_model(parent.folder, parent.run)
    where = printable(str(parent.folder / run_folder.MODEL))
    model = load_network(data, where, "E-TRAIN-FROM", "train anew")
    if not isinstance(model, keras.Sequential):
        raise TrainError("E-TRAIN-FROM", f"{where} is a network that limiar did not make: train anew")
    return model


def _check_classes(data: DataSet, answers: np.ndarray, partial: Path) -> None:
    given = set(answers[data.part("val")].argmax(axis=1).tolist())
    if len(given) == 1:
        shutil.rmtree(partial, ignore_errors=True)
        met = f"the model answers {printable(data.labels[given.pop()])} to every validation image"
        cure = "what was trained is removed: train longer or with another rate (--set epochs=…, --set rate=…)"
        raise TrainError("E-TRAIN-ONE-CLASS", f"{met}: {cure}")


def _deployable(fitted: Fitted, data: DataSet, raw: np.ndarray, temperature: float) -> tuple[keras.Model, np.ndarray]:
    """The network to ship and its logits [N, K], checked against those of the network that was trained."""
    model = models.deployable(fitted.model, temperature)
    answers = logits(model, data.images, np.arange(len(data.rows)))
    mixed = keras.mixed_precision.dtype_policy().name != "float32"  # then the trained one computed in half precision
    apart = float(np.abs(answers - raw / temperature).max())
    allowed = (100 if mixed else 1) * _ROUNDING * max(1.0, float(np.abs(answers).max()))
    if apart > allowed:
        raise TrainError("E-TRAIN-FOLD", f"folding changed a logit by {apart:.3g}: this is a fault of limiar, please report it")
    return model, answers


def _publish(
    out: Path,
    partial: Path,
    run: Run,
    model: keras.Model,
    data: DataSet,
    answers: np.ndarray,
    history: tuple[Epoch, ...],
    splits: bytes,
    note: Callable[[str], None],
) -> None:
    """Writes every file into a folder beside, then gives it its name: a RUN is there whole or not at all."""
    made = partial / "run"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    saved = saved_model(model, made)
    write_whole(made / run_folder.MODEL, saved)
    digest = hashlib.sha256(saved).hexdigest()
    run = msgspec.structs.replace(run, model_sha256=digest)
    rows = (
        PredictionRow(row.sha256, row.split, row.label, tuple(map(float, line)))
        for row, line in zip(data.rows, answers, strict=True)
    )
    write_whole(made / run_folder.SPLITS, splits)
    write_whole(made / run_folder.PREDICTIONS, run_folder.predictions_csv(rows, run.labels))
    lines = [msgspec.structs.astuple(epoch) for epoch in history]
    write_whole(made / run_folder.HISTORY, run_folder.table_csv(Epoch.__struct_fields__, lines))
    write_whole(made / run_folder.REPORT, _report(run, data, answers, history, note).encode())
    write_whole(made / run_folder.RECORD, run_folder.record_json(run))
    made.rename(out)
    sync_directory(out.parent)
    _remove(partial)


def _report(run: Run, data: DataSet, answers: np.ndarray, history: tuple[Epoch, ...], note: Callable[[str], None]) -> str:
    """The page; where it cannot be drawn one that says why: hours of training are not lost to a picture."""
    try:
        return render(run, data, answers, history)
    except Exception as error:  # matplotlib and what it calls raise anything: ValueError, RuntimeError, MemoryError, …
        reason = for_terminal(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
        met = f"the report cannot be drawn ({reason})"
        note(str(TrainError("E-TRAIN-REPORT", f"{met}: the RUN is whole and can be converted; please report this")))
        return page(
            "limiar: no report", [f"<section><h1>No report</h1><p>{for_html(met)}.</p><p>The RUN is whole.</p></section>"]
        )


def _remove(partial: Path) -> None:
    """The state first: a kill halfway leaves nothing that could be taken for a run to go on from."""
    (partial / STATE).unlink(missing_ok=True)
    shutil.rmtree(partial, ignore_errors=True)


def saved_model(model: keras.Model, folder: Path) -> bytes:
    """A .keras file as Keras writes it, but deflated and without the time of day: the same run gives the same bytes."""
    plain = folder / "plain.keras"
    model.save(plain)
    packed = io.BytesIO()
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "metadata.json":
                data = re.sub(rb'"date_saved": "[^"]*"', b'"date_saved": "1980-01-01@00:00:00"', data)
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            target.writestr(member, data, zipfile.ZIP_DEFLATED, compresslevel=9)
    plain.unlink()
    return packed.getvalue()


def summary(out: Path, run: Run) -> str:
    """A short table of the published run, for the terminal."""
    rows = run_folder.read_predictions(out, run)
    lines, splits = [], []
    for part in ("val", "test"):
        chosen = [row for row in rows if row.split == part]
        truth = np.array([run.labels.index(row.label) for row in chosen], np.int64)
        answers = probabilities(np.array([row.logits for row in chosen]))
        splits.append(Scores(answers, truth, run.labels.index(run.positive) if run.positive else None))
        measured = class_metrics(truth, answers, run.labels, run.positive)
        if len(measured) > FIGURES:
            least = min((name for name in measured if name != "accuracy"), key=lambda name: measured[name].value)
            measured = {"accuracy": measured["accuracy"], f"least {least}": measured[least]}
        figures = "  ".join(f"{printable(name)} {m.value:.3f} ({m.low:.3f}-{m.high:.3f})" for name, m in measured.items())
        lines.append(f"{part:<5} n={len(chosen):<5} {figures}")
    val, test = splits
    lines += referrals(val, test)
    if found := evidence(Counter(row.label for row in rows if row.split == "test")):
        lines.append(found.text())
    return "\n".join(lines)
