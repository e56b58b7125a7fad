"""Trainings with numbers that Optuna chooses; the validation loss decides, and no trial uses the test images.

Every trial is what `limiar train` with the same --set does, up to the RUN. The database is SQLite in the sweep's folder: an
interrupted sweep continues its last trial from the last epoch, and then tries what it would have tried.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import keras
import msgspec
import optuna
from optuna.trial import FrozenTrial, TrialState

from limiar.edge_app.errors import TrainError, printable
from limiar.train.config import changed
from limiar.train.dataset.image_folder import DataSet
from limiar.train.fit import ctrl_c
from limiar.train.fit.fit import Identity, prepare, resumed
from limiar.train.record import run_folder
from limiar.train.record.run_folder import Epoch
from limiar.train.run.request import Listener, TrainRequest
from limiar.train.run.steps import gathered, identified, keeping, trained, within_images
from limiar.train.sweep.result import Ending, SweepTrial
from limiar.train.sweep.space import Varied, setting

DATABASE, STUDY, LOCK = "study.db", "limiar", "sweep.lock"
# The median rule: a trial ends early if its best loss so far is above the median of the others' at that epoch.
STARTUP_TRIALS, STARTUP_EPOCHS = 5, 5  # without pruning: the median needs some

_ENDINGS: dict[TrialState, Ending] = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@ctrl_c.insisted()
def run_trials(
    request: TrainRequest, varied: tuple[Varied, ...], trials: int, listener: Listener, done: Callable[[SweepTrial], None]
) -> tuple[SweepTrial, ...]:
    """Trains until `trials` are done, counting those of an earlier start. request.out: the sweep's folder.

    done: told of each trial at its end. Raises DataError and TrainError.
    """
    out = request.out
    with _locked(out):
        data, _ = gathered(request, keeping(out, request.config, listener), listener)
        request = within_images(request, data)
        identity = identified(request, data, run_folder.splits_csv(data.rows), None)
        study = _study(out, identity, varied)
        _requeue(study)
        while (over := len(_over(study))) < trials:
            # From the number of trials alone, so that an interrupted sweep tries what it would have tried.
            study.sampler = optuna.samplers.TPESampler(seed=request.seed * 1_000_003 + over)
            _try(study, request, data, identity, varied, listener)
            done(_trial(_over(study)[-1], over + 1, varied))
        shutil.rmtree(out / "trials", ignore_errors=True)
        return tuple(_trial(one, number, varied) for number, one in enumerate(_over(study), start=1))


def _try(
    study: optuna.Study,
    request: TrainRequest,
    data: DataSet,
    identity: Identity,
    varied: tuple[Varied, ...],
    listener: Listener,
) -> None:
    trial = study.ask()
    config = changed(request.config, [setting(one.key, _drawn(trial, one)) for one in varied])
    own = msgspec.structs.replace(identity, config=config)
    folder = request.out / "trials" / hashlib.sha256(msgspec.json.encode(own)).hexdigest()[:16]
    keras.utils.clear_session()  # otherwise every network so far stays in memory
    prepare(request.seed, config)

    def epoch(one: Epoch) -> None:
        _report(trial, one)
        listener.epoch(one)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        for earlier in resumed(folder, own).history:
            _report(trial, earlier)
        fitted = trained(replace(request, config=config), data, own, folder, replace(listener, epoch=epoch))
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except TrainError as error:
        if error.code != "E-TRAIN-NAN":
            raise
        study.tell(trial, state=TrialState.FAIL)
    else:
        kept = fitted.history[fitted.best - 1]
        trial.set_user_attr("val_accuracy", kept.val_accuracy)
        study.tell(trial, kept.val_loss)
    shutil.rmtree(folder, ignore_errors=True)


def _drawn(trial: optuna.Trial, varied: Varied) -> str | float:
    if varied.choices:
        return str(trial.suggest_categorical(varied.key, varied.choices))
    if varied.whole:
        return int(trial.suggest_int(varied.key, int(varied.low), int(varied.high), log=varied.log))
    return trial.suggest_float(varied.key, varied.low, varied.high, log=varied.log)


def _report(trial: optuna.Trial, epoch: Epoch) -> None:
    trial.report(epoch.val_loss, epoch.epoch)


def _study(out: Path, identity: Identity, varied: tuple[Varied, ...]) -> optuna.Study:
    """A new study, or the one in `out`. Raises TrainError if that is another sweep's."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{(out / DATABASE).resolve()}",
        study_name=STUDY,
        direction="minimize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(STARTUP_TRIALS, STARTUP_EPOCHS),
    )
    facts = {**msgspec.to_builtins(identity), **msgspec.structs.asdict(identity.config), "config": None}
    facts |= {f"--vary {one.key}": msgspec.json.encode(one).decode() for one in varied}
    facts = json.loads(json.dumps(facts))  # as the database gives them back
    kept = study.user_attrs.get("facts")
    if kept is None:
        study.set_user_attr("facts", facts)
        return study
    for name in {**kept, **facts}:
        if kept.get(name) != facts.get(name):
            was, now = (printable(str(found.get(name)))[:120] for found in (kept, facts))
            met = f"{printable(str(out))} is a sweep with another {name}: {was}, not {now}"
            raise TrainError("E-SWEEP-OTHER", f"{met}: repeat the first command, or give another --out")
    return study


def _requeue(study: optuna.Study) -> None:
    """Tries the interrupted trial again: its numbers lead to its checkpoints."""
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if trial.params:
            study.enqueue_trial(trial.params, skip_if_exists=False)
        study.set_user_attr("interrupted", [*study.user_attrs.get("interrupted", []), trial.number])
        study.tell(trial.number, state=TrialState.FAIL)


def _over(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that were not interrupted."""
    interrupted = set(study.user_attrs.get("interrupted", []))
    return [one for one in study.get_trials(deepcopy=False) if one.state in _ENDINGS and one.number not in interrupted]


def _trial(one: FrozenTrial, number: int, varied: tuple[Varied, ...]) -> SweepTrial:
    losses = one.intermediate_values
    settings = (setting(each.key, one.params[each.key]) for each in varied if each.key in one.params)
    value = one.value if one.state == TrialState.COMPLETE else min(losses.values(), default=None)
    return SweepTrial(number, _ENDINGS[one.state], tuple(settings), len(losses), value, one.user_attrs.get("val_accuracy"))


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """The sweep's folder, made if needed. Two sweeps at once would take each other's trials for interrupted ones."""
    where = printable(str(out))
    try:
        out.mkdir(parents=True, exist_ok=True)
        found = {path.name for path in out.iterdir()}
        if found and found.isdisjoint({DATABASE, LOCK}):
            raise TrainError("E-SWEEP-OUT", f"{where} exists and is not a sweep: give another --out, or remove it first")
        descriptor = os.open(out / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise TrainError("E-SWEEP-OUT", f"{where}: {error.strerror}: give another --out") from None
    holds = False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holds = True
        yield
    except BlockingIOError:
        met = f"another limiar sweep is running in {where}"
        raise TrainError("E-SWEEP-BUSY", f"{met}: wait for it, or give another --out") from None
    finally:
        if holds:
            _leave_nothing(out)
        os.close(descriptor)


def _leave_nothing(out: Path) -> None:
    """Removes the folder of a sweep that was refused before it kept anything. Only the holder of the lock may."""
    with suppress(OSError):  # another process has removed it
        if {path.name for path in out.iterdir()} == {LOCK}:
            (out / LOCK).unlink()
            out.rmdir()
