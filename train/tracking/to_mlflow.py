"""A run as MLflow keeps it: config, figures of every epoch, final figures, report.html and train.json."""

import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

# MLflow sends usage data unless it is told not to before it is imported (mlflow/telemetry/utils.py), and limiar sends none.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"

import msgspec
import numpy as np
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from limiar.edge_app.errors import TrainError, printable
from limiar.edge_app.inference.softmax import softmax
from limiar.train.record import run_folder
from limiar.train.record.metrics import class_metrics
from limiar.train.record.provenance import commit
from limiar.train.record.run_folder import Epoch, Run

if TYPE_CHECKING:  # it brings Keras
    from limiar.train.fit.fit import RunState

EXPERIMENT = "limiar"
DATABASE, ARTIFACTS = "mlflow.db", "artifacts"  # in a folder that is given in place of a server
KEY = "limiar.key"  # identifies the run of a folder, so that a resumed one is found again
UNFINISHED = ("RUNNING", "FAILED", "KILLED")


class MLflow:
    """A run of the experiment `limiar` on a tracking server, or in a folder."""

    def __init__(self, place: str, out: Path) -> None:
        self._place, self._out, self._id = place, out, ""
        for name in ("mlflow", "alembic"):  # they log every table that they make
            logging.getLogger(name).setLevel(logging.WARNING)
        with self._refusing():
            if "://" in place or place == "databricks":
                self._client, artifacts = MlflowClient(place), None
            else:
                folder = Path(place).resolve()
                folder.mkdir(parents=True, exist_ok=True)
                self._client, artifacts = MlflowClient(f"sqlite:///{folder / DATABASE}"), (folder / ARTIFACTS).as_uri()
            found = self._client.get_experiment_by_name(EXPERIMENT)
            self._experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT, artifacts)

    def begin(self, state: "RunState") -> None:
        """A new run, or the interrupted one that is resumed."""
        identity = state.identity
        own = f"{self._out.resolve()}\0".encode("utf-8", "surrogateescape") + msgspec.json.encode(identity)
        key = hashlib.sha256(own).hexdigest()
        with self._refusing():
            self._id = (self._unfinished(key) if state.done else None) or self._created(key, state)
            logged = {metric.step for metric in self._client.get_metric_history(self._id, "loss")}
        for epoch in state.history:
            if epoch.epoch not in logged:
                self.epoch(epoch)

    def epoch(self, epoch: Epoch) -> None:
        """A value of every curve."""
        values = msgspec.structs.asdict(epoch)
        step = values.pop("epoch")
        self._log(values, step)

    def end(self, run: Run | None) -> None:
        """Logs figures of validation and test, and two files; or, for None, that the run did not get that far."""
        if not self._id:  # nothing was begun
            return
        if run is None:
            with self._refusing():
                self._client.set_terminated(self._id, "KILLED")
            return
        self._log({_name(name): value for name, value in _figures(self._out, run).items()}, run.best_epoch)
        with self._refusing():
            self._client.set_tag(self._id, "model_sha256", run.model_sha256)
            for file in (run_folder.REPORT, run_folder.RECORD):
                self._client.log_artifact(self._id, str(self._out / file))
            self._client.set_terminated(self._id, "FINISHED")

    def _unfinished(self, key: str) -> str | None:
        found = self._client.search_runs([self._experiment], f"tags.`{KEY}` = '{key}'", order_by=["attributes.start_time DESC"])
        return next((run.info.run_id for run in found if run.info.status in UNFINISHED), None)

    def _created(self, key: str, state: "RunState") -> str:
        identity = state.identity
        tags = {KEY: key, "commit": commit(), "data_sha256": identity.data_sha256, "parent_model_sha256": identity.parent}
        created = self._client.create_run(self._experiment, run_name=printable(self._out.name))
        run_id: str = created.info.run_id
        values = msgspec.structs.asdict(identity) | msgspec.structs.asdict(identity.config)
        params = [Param(name, printable(str(value))[:500]) for name, value in values.items() if name != "config"]
        self._client.log_batch(run_id, params=params, tags=[RunTag(name, value) for name, value in tags.items() if value])
        return run_id

    def _log(self, values: dict[str, float], step: int) -> None:
        now_ms = int(time.time() * 1000)
        with self._refusing():
            self._client.log_batch(self._id, metrics=[Metric(name, value, now_ms, step) for name, value in values.items()])

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except (MlflowException, OSError) as error:
            met = f"--mlflow {printable(self._place)}: {printable(str(error).partition(chr(10))[0])[:300]}"
            cure = "give a server that answers or a folder that can be written; the same command continues from the last epoch"
            raise TrainError("E-TRAIN-TRACKER", f"{met}: {cure}") from None


def _figures(out: Path, run: Run) -> dict[str, float]:
    """As `val auc` or `test accuracy`, of the model that ships."""
    rows = run_folder.read_predictions(out, run)
    found: dict[str, float] = {}
    for part in ("val", "test"):
        own = [row for row in rows if row.split == part]
        answers = softmax(np.array([row.logits for row in own]))
        truth = [run.labels.index(row.label) for row in own]
        measured = class_metrics(truth, answers, run.labels, run.positive)
        found |= {f"{part} {name}": metric.value for name, metric in measured.items()}
    return found


def _name(text: str) -> str:
    """MLflow takes letters, digits and some signs in a metric's name."""
    return re.sub(r"[^\w\-./ ]", "_", text)
