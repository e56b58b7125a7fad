"""What the commands of training call: functions whose keywords are the commands' options, and which print nothing."""

import inspect

import pytest

from limiar.edge_app.errors import TrainError
from limiar.train.check.check_data import check_data
from limiar.train.commands.check import check
from limiar.train.commands.phantoms import phantoms
from limiar.train.commands.sweep import sweep as sweep_command
from limiar.train.commands.train import train
from limiar.train.config import Hosts
from limiar.train.data.phantom_folder import write_phantoms
from limiar.train.run.train_model import train_model
from limiar.train.sweep.sweep import sweep

PRINTING = {"as_json", "html", "silent"}  # what a command does with what comes back
HOSTS = {"count", "own", "coordinator"}  # `hosts`
OF_SERIES = {"series", "empty"}  # write_phantom_series, the command's other function
TOLD = {"listener", "done", "tick", "hosts"}


@pytest.mark.parametrize(
    ("command", "required", "function"),
    [
        (train, ["images", "--out", "run"], train_model),
        (check, ["images"], check_data),
        (sweep_command, ["images", "--out", "sweep"], sweep),
        (phantoms, ["images", "--count", "4"], write_phantoms),
    ],
)
def test_a_command_s_options_are_its_function_s_keywords_with_the_same_defaults(command, required, function):
    given = command.make_context(command.name, [*required]).params
    apart = PRINTING | (HOSTS if command is train else OF_SERIES if command is phantoms else set())
    options = {name: value for name, value in given.items() if name not in apart}
    keywords = {name: one.default for name, one in inspect.signature(function).parameters.items() if name not in TOLD}
    assert options.keys() == keywords.keys()
    assert {name: options[name] for name, default in keywords.items() if default is not inspect.Parameter.empty} == {
        name: default for name, default in keywords.items() if default is not inspect.Parameter.empty
    }


def test_training_from_python_prints_nothing_and_returns_the_record(phantom_folder, tmp_path, capfd):
    heard = []
    run = train_model(phantom_folder, tmp_path / "run", recipe="limiar", changes=["epochs=2", "batch=32", "warmup=0"])
    assert (run.labels, run.epochs) == (("neg", "pos"), 2)
    assert (tmp_path / "run" / "model.keras").exists()
    report = check_data(phantom_folder, labels=False, tick=lambda what, done, total: heard.append(what))
    assert report.images == 160
    assert "images" in heard
    assert capfd.readouterr() == ("", "")


def test_a_folder_of_phantoms_is_whole_or_not_there(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path / "images", 4, tick=stop)
    assert list(tmp_path.iterdir()) == []
    write_phantoms(tmp_path / "images", 4)
    with pytest.raises(TrainError) as refused:
        write_phantoms(tmp_path / "images", 4)
    assert refused.value.code == "E-PHANTOMS-OUT"


@pytest.mark.parametrize(
    "keywords", [{"quick": True, "recipe": "course"}, {"parent": "run"}, {"hosts": Hosts(2, 1, "localhost:7000")}]
)
def test_keywords_that_exclude_each_other_are_an_error_of_the_caller(phantom_folder, tmp_path, keywords):
    with pytest.raises(ValueError, match=r"quick|parent|assist_training"):
        train_model(phantom_folder, tmp_path / "run", **keywords)
    assert list(tmp_path.iterdir()) == []
