"""--tensorboard and --mlflow, with the real packages."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from mlflow.tracking import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from limiar.edge_app.errors import LimiarError, TrainError
from limiar.train.fit.fit import RunState
from limiar.train.record import run_folder
from limiar.train.record.run_folder import Epoch
from limiar.train.run.make_run import make_run
from limiar.train.tracking.to_mlflow import DATABASE, MLflow
from limiar.train.tracking.to_tensorboard import TensorBoard
from limiar.train.tracking.trackers import Trackers, open_trackers

HISTORY = tuple(Epoch(number, 0.001, 1 / number, 0.5, 2 / number, 0.6) for number in (1, 2, 3))


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, request_for, silent):
    """(RUN, RunState at its begin, folder of both logs) of a run of two epochs that both were told of."""
    folder = tmp_path_factory.mktemp("tracked")
    out, states = folder / "run", []
    trackers = open_trackers(out, folder / "tensorboard", str(folder / "mlflow"))

    def begin(state):
        states.append(state)
        for tracker in trackers:
            tracker.begin(state)

    def epoch(one):
        for tracker in trackers:
            tracker.epoch(one)

    run = make_run(request_for(out), replace(silent, begin=begin, epoch=epoch))
    for tracker in trackers:
        tracker.end(run)
    return out, states[0], folder


def curve(folder, name):
    """[(step, value)] as TensorBoard reads it."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(one.step, round(float(make_ndarray(one.tensor_proto)), 5)) for one in events.Tensors(name)]


def test_tensorboard_has_a_point_of_every_epoch(tracked):
    out, _, folder = tracked
    lines = (out / run_folder.HISTORY).read_text().split()[1:]
    assert curve(folder / "tensorboard" / "run", "val_loss") == [
        (int(line.split(",")[0]), round(float(line.split(",")[4]), 5)) for line in lines
    ]


def test_a_run_that_goes_on_repeats_in_tensorboard_no_more_than_the_last_epoch(tmp_path, tracked):
    _, state, _ = tracked
    first = TensorBoard(tmp_path)
    first.begin(state)
    for epoch in HISTORY[:2]:
        first.epoch(epoch)
    first.end(None)
    again = TensorBoard(tmp_path)
    again.begin(RunState(state.identity, HISTORY[:2], best=2))
    again.epoch(HISTORY[2])
    again.end(None)
    assert sorted(set(curve(tmp_path, "loss"))) == [(1, 1.0), (2, 0.5), (3, 0.33333)]


def mlflow_runs(place):
    client = MlflowClient(f"sqlite:///{place / DATABASE}")
    return client, client.search_runs([client.get_experiment_by_name("limiar").experiment_id])


def test_mlflow_has_config_curves_figures_tags_and_the_two_files(tracked):
    out, state, folder = tracked
    run = run_folder.read_run(out)
    client, (kept,) = mlflow_runs(folder / "mlflow")
    assert kept.info.status == "FINISHED"
    assert kept.data.params["rate"] == str(run.config["rate"])
    assert kept.data.params["model"] == "compact"
    assert len(client.get_metric_history(kept.info.run_id, "val_loss")) == 2
    assert {"val auc", "test auc", "val accuracy"} <= set(kept.data.metrics)
    assert kept.data.tags["data_sha256"] == run.data.sha256 == state.identity.data_sha256
    assert kept.data.tags["model_sha256"] == run.model_sha256
    assert kept.data.tags["commit"] == run.commit
    assert {file.path for file in client.list_artifacts(kept.info.run_id)} == {run_folder.REPORT, run_folder.RECORD}


def test_a_run_that_goes_on_is_the_same_run_of_mlflow_with_every_epoch_once(tracked):
    _, state, folder = tracked  # a second run in the same database, as making one takes seconds
    out = folder / "other"
    first = MLflow(str(folder / "mlflow"), out)
    first.begin(state)
    first.epoch(HISTORY[0])
    first.end(None)
    again = MLflow(str(folder / "mlflow"), out)
    again.begin(RunState(state.identity, HISTORY[:2], best=2))
    again.epoch(HISTORY[2])
    client, runs = mlflow_runs(folder / "mlflow")
    (kept,) = [run for run in runs if run.info.run_name == "other"]
    assert [metric.step for metric in client.get_metric_history(kept.info.run_id, "loss")] == [1, 2, 3]


def test_mlflow_sends_no_usage_data(tmp_path):
    code = "import limiar.train.tracking.to_mlflow, mlflow.telemetry as t\n"
    code += "from mlflow.telemetry.utils import is_telemetry_disabled\n"
    code += "from mlflow.telemetry.client import get_telemetry_client\n"
    code += "assert is_telemetry_disabled() and get_telemetry_client() is None"
    told = ("CI", "PYTEST_CURRENT_TEST", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "GITHUB_ACTIONS")  # each hides it too
    environment = {name: value for name, value in os.environ.items() if name not in told}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", ["tensorboard", "mlflow"])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, place):
    (tmp_path / "file").write_text("")
    given = {"tensorboard": None, "mlflow": None} | {place: tmp_path / "file" / "x"}
    with pytest.raises(TrainError) as refused:
        open_trackers(tmp_path / "run", given["tensorboard"], given["mlflow"] and str(given["mlflow"]))
    assert refused.value.code == "E-TRAIN-TRACKER"


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_package_that_is_missing_is_named_with_the_line_that_installs_it(tmp_path, monkeypatch, name):
    monkeypatch.delitem(sys.modules, f"limiar.train.tracking.to_{name}", raising=False)
    for module in [*sys.modules]:
        if module.partition(".")[0] == name:
            monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(LimiarError) as refused:
        open_trackers(tmp_path / "run", tmp_path if name == "tensorboard" else None, "x" if name == "mlflow" else None)
    assert refused.value.code == "E-INSTALL-MISSING"
    assert refused.value.message.endswith(f"pip install 'limiar[{name}]'")


def test_without_being_asked_nothing_is_logged(tmp_path):
    assert open_trackers(tmp_path / "run", None, None) == []


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), TrainError("E-TRAIN-TRACKER", "gone"), RuntimeError("x")]
)
def test_a_tracker_that_fails_under_way_is_let_go_with_a_word(error):
    class Fails:
        def begin(self, state):
            pass

        def epoch(self, epoch):
            raise error

        def end(self, run):
            raise AssertionError("it was let go")

    class Listens(Fails):
        def epoch(self, epoch):
            heard.append(epoch.epoch)

        def end(self, run):
            heard.append("end")

    heard, notes = [], []
    trackers = Trackers([Fails(), Listens()], notes.append)
    trackers.begin(None)
    for epoch in HISTORY:
        trackers.epoch(epoch)
    trackers.end(None)
    assert heard == [*(epoch.epoch for epoch in HISTORY), "end"]
    assert len(notes) == 1
    assert notes[0].startswith("E-TRAIN-TRACKER: Fails gets nothing more of this run")
