"""`limiar sweep`: what is tried, what decides, and that an interruption changes nothing."""

import fcntl
import signal
from contextlib import suppress
from dataclasses import replace

import keras
import msgspec
import optuna
import pytest
from click.testing import CliRunner

from limiar.edge_app.errors import DataError, TrainError
from limiar.train.commands.sweep import sweep as command
from limiar.train.config import RECIPES, Config
from limiar.train.record import run_folder
from limiar.train.run.make_run import make_run
from limiar.train.sweep import trials as engine
from limiar.train.sweep.result import SweepResult, best_of
from limiar.train.sweep.space import DEFAULT, Varied, parse, setting
from limiar.train.sweep.trials import DATABASE, LOCK, STUDY, run_trials

RATE = parse(["rate=1e-3..1e-2", "batch=16,32"], Config())


class Stopped(Exception):
    """A kill, as far as the sweep can tell."""


def swept(request, silent, trials, varied=RATE, epoch=None):
    return run_trials(request, varied, trials, replace(silent, epoch=epoch) if epoch else silent, lambda trial: None)


@pytest.fixture(scope="module")
def small_sweep(tmp_path_factory, request_for, silent):
    """(its folder, two trials of two epochs)."""
    out = tmp_path_factory.mktemp("sweep") / "sweep"
    return out, swept(request_for(out), silent, 2)


def test_ranges_and_values_are_read():
    assert parse(["rate=1e-4..1e-2", "dropout=0..0.5", "epochs=10..50", "flip=true,false"], Config()) == (
        Varied("rate", low=1e-4, high=1e-2),
        Varied("dropout", low=0.0, high=0.5),
        Varied("epochs", low=10.0, high=50.0, whole=True),
        Varied("flip", choices=("true", "false")),
    )
    assert [one.log for one in parse(["rate=1e-4..1e-2", "dropout=0..0.5", "epochs=10..50"], Config())] == [True, False, False]
    assert len(parse([], Config())) == len(DEFAULT)


def test_what_is_drawn_is_written_as_it_is_trained():
    assert setting("rate", 0.00123456789) == "rate=0.001235"
    assert setting("epochs", 12345) == "epochs=12345"


@pytest.mark.parametrize(
    "text",
    ["val_share=0.1..0.3", "flip=false..true", "rate=1e-2..1e-4", "rate=1..1", "calibrate=true,false", "sharp_epochs=1,2"],
)
def test_what_cannot_be_varied_is_refused(text):
    with pytest.raises(TrainError) as refused:
        parse([text], Config())
    assert refused.value.code == "E-SWEEP-VARY"


def test_what_has_no_range_is_given_as_values():
    with pytest.raises(TrainError) as refused:
        parse(["on_device=auto..yes"], Config())
    assert refused.value.message.endswith("give values, like on_device=auto,yes")


@pytest.mark.parametrize(
    "text", ["rates=1..2", "rate=low..high", "rate=1e-3..", "rate=1..inf", "dropout=0..2", "dropout=0.5..0.99999", "rate", ""]
)
def test_what_the_recipe_would_refuse_is_refused(text):
    with pytest.raises(TrainError) as refused:
        parse([text], Config())
    assert refused.value.code == "E-SWEEP-VARY"
    assert refused.value.message.startswith(f"--vary {text}: ")
    assert "--set" not in refused.value.message


@pytest.mark.parametrize("name", ["file", "file/sweep", "s" * 256, "nowhere", "locked"])
def test_a_folder_that_cannot_be_made_or_written_is_refused(tmp_path, request_for, silent, name):
    (tmp_path / "file").write_text("")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "locked" / LOCK).mkdir(parents=True)  # no file can be made of it
    unread = replace(silent, image=lambda done, total: pytest.fail("an image was read"))
    with pytest.raises(TrainError) as refused:
        swept(request_for(tmp_path / name), unread, 1)
    assert refused.value.code == "E-SWEEP-OUT"


def test_what_is_varied_must_suit_the_recipe():
    with pytest.raises(TrainError) as refused:
        parse(["epochs=0..400"], RECIPES["reference"])
    assert refused.value.code == "E-SWEEP-VARY"
    for config in (Config(), RECIPES["reference"]):  # of which a share stays sharp
        assert parse(["epochs=30..400"], config) == (Varied("epochs", low=30.0, high=400.0, whole=True),)


def test_a_number_is_varied_once():
    with pytest.raises(TrainError) as refused:
        parse(["rate=1e-4..1e-2", "rate=1,2"], Config())
    assert refused.value.code == "E-SWEEP-VARY"


def test_a_trial_is_the_run_that_train_makes_of_its_settings(small_sweep, tmp_path, request_for, silent):
    _, trials = small_sweep
    best = best_of(trials)
    assert best.val_loss == min(trial.val_loss for trial in trials)
    run = make_run(request_for(tmp_path / "run", *best.settings), silent)
    line = (tmp_path / "run" / run_folder.HISTORY).read_text().split()[run.best_epoch]
    assert float(line.split(",")[4]) == best.val_loss
    assert float(line.split(",")[5]) == best.val_accuracy


def test_a_trial_computes_in_the_precision_that_it_varies(tmp_path, request_for, silent):
    swept(request_for(tmp_path / "sweep", "epochs=1"), silent, 1, parse(["precision=float16,bfloat16"], Config()))
    assert keras.mixed_precision.dtype_policy().name in ("mixed_float16", "mixed_bfloat16")
    keras.mixed_precision.set_global_policy("float32")


def test_an_interrupted_sweep_goes_on_and_ends_as_one_that_was_not(small_sweep, tmp_path, request_for, silent):
    seen = []

    def stop_in_the_second_trial(epoch):
        seen.append(epoch)
        if len(seen) == 3:
            raise Stopped

    asked = request_for(tmp_path / "sweep")
    with pytest.raises(Stopped):
        swept(asked, silent, 2, epoch=stop_in_the_second_trial)
    assert swept(asked, silent, 2, epoch=seen.append) == small_sweep[1]
    assert len(seen) == 4  # no epoch was trained twice


def test_a_ctrl_c_that_a_library_swallows_ends_the_sweep_all_the_same(tmp_path, request_for, silent):
    told = []

    def swallowed(epoch):  # as TensorFlow's C++ sometimes does
        told.append(epoch)
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        swept(request_for(tmp_path / "sweep"), silent, 1, epoch=swallowed)
    assert len(told) == 1


def test_a_sweep_interrupted_while_it_read_images_to_disk_goes_on(tmp_path, request_for, silent):
    asked = request_for(tmp_path / "sweep", "epochs=1", "memory_mb=0.1")

    def stop_at_the_tenth(done, total):
        if done == 10:
            raise Stopped

    with pytest.raises(Stopped):
        run_trials(asked, RATE, 1, replace(silent, image=stop_at_the_tenth), lambda trial: None)
    assert len(swept(asked, silent, 1)) == 1


def test_a_sweep_that_is_refused_leaves_nothing(tmp_path, request_for, silent):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        swept(request_for(tmp_path / "sweep", folder=tmp_path / "empty"), silent, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_sweep_that_is_over_tries_nothing_more(small_sweep, request_for, silent):
    out, trials = small_sweep
    assert swept(request_for(out), silent, 2, epoch=lambda epoch: pytest.fail("trained")) == trials
    assert not (out / "trials").exists()


def test_another_sweep_does_not_go_on_in_its_place(small_sweep, request_for, silent):
    out, _ = small_sweep
    for asked, varied, field in [
        (request_for(out, "dropout=0.1"), RATE, "dropout"),
        (request_for(out), parse(["rate=1e-4..1e-2", "batch=16,32"], Config()), "--vary rate"),
    ]:
        with pytest.raises(TrainError) as refused:
            swept(asked, silent, 2, varied)
        assert refused.value.code == "E-SWEEP-OTHER"
        assert f"with another {field}: " in refused.value.message


def test_a_folder_that_is_no_sweep_is_left_alone(small_run, request_for, silent):
    with pytest.raises(TrainError) as refused:
        swept(request_for(small_run), silent, 1)
    assert refused.value.code == "E-SWEEP-OUT"


def test_two_sweeps_at_once_are_refused(tmp_path, request_for, silent):
    with (tmp_path / LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TrainError) as refused:
            swept(request_for(tmp_path), silent, 1)
    assert refused.value.code == "E-SWEEP-BUSY"


def test_a_trial_whose_loss_is_no_number_has_failed_and_a_bad_one_ends_early(tmp_path, request_for, silent, monkeypatch):
    monkeypatch.setattr(engine, "STARTUP_TRIALS", 1)
    monkeypatch.setattr(engine, "STARTUP_EPOCHS", 0)
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / DATABASE}", study_name=STUDY, direction="minimize")
    for rate in ("0.002", "1e-7", "1e30"):
        study.enqueue_trial({"rate": rate})
    trials = swept(request_for(tmp_path), silent, 3, parse(["rate=0.002,1e-7,1e30"], Config()))
    assert [(trial.settings[0], trial.state, trial.epochs) for trial in trials] == [
        ("rate=0.002", "complete", 2),
        ("rate=1e-7", "pruned", 1),
        ("rate=1e30", "failed", 0),
    ]


def test_the_command_prints_the_line_that_trains_the_best(small_sweep, phantom_folder):
    out, trials = small_sweep
    words = [str(phantom_folder), "--out", str(out), "--trials", "2", "--vary", "rate=1e-3..1e-2", "--vary", "batch=16,32"]
    words += [word for change in ("epochs=2", "batch=32", "warmup=0") for word in ("--set", change)]
    done = CliRunner().invoke(command, words, standalone_mode=False)
    assert done.exception is None
    assert done.output.splitlines()[-1].startswith("limiar train ")
    assert all(f"--set {one}" in done.output.splitlines()[-1] for one in ("epochs=2", *best_of(trials).settings))
    outcome = msgspec.json.decode(
        CliRunner().invoke(command, [*words, "--json"], standalone_mode=False).stdout, type=SweepResult
    )
    assert (outcome.trials, outcome.best) == (trials, best_of(trials))
