"""Soft targets: what teachers say of the training images, and that a kill among them changes nothing."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from edge_app import run_folder
from edge_app.errors import TrainError
from train.config import Config, Hosts, configured, continued
from train.run import partial_folder, train
from train.teachers import views

CHANGES = ("epochs=1", "teachers=2", "teaching=0.5", "patience=0", "min_per_class=1", "batch=4", "rate=0.005")


class Killed(Exception):
    """As far as the loop can tell."""


@pytest.fixture(scope="module")
def taught_run(tmp_path_factory, request_for, silent):
    """A RUN with two teachers, and what was told of them."""
    seen = []
    out = tmp_path_factory.mktemp("taught") / "run"
    train(request_for(out, *CHANGES), replace(silent, teacher=lambda number, epoch: seen.append((number, epoch.epoch))))
    return out, seen


def test_each_teacher_is_trained_and_nothing_of_it_stays(taught_run):
    out, seen = taught_run
    assert seen == [(1, 1), (2, 1)]
    assert not partial_folder(out).exists()
    assert run_folder.read_run(out).config["teachers"] == 2


def test_a_run_that_was_killed_among_its_teachers_ends_with_the_same_bytes(tmp_path, request_for, silent, taught_run):
    out = tmp_path / "run"

    def kill(number, epoch):
        if number == 2:
            raise Killed

    with pytest.raises(Killed):
        train(request_for(out, *CHANGES), replace(silent, teacher=kill))
    train(replace(request_for(out, *CHANGES), resume=True), silent)
    for name in (run_folder.MODEL, run_folder.PREDICTIONS):
        assert (out / name).read_bytes() == (taught_run[0] / name).read_bytes()


def test_teachers_change_what_is_learnt(tmp_path, request_for, silent, taught_run):
    train(request_for(tmp_path / "run", *CHANGES, "teachers=0"), silent)
    assert (tmp_path / "run" / run_folder.MODEL).read_bytes() != (taught_run[0] / run_folder.MODEL).read_bytes()


@pytest.mark.parametrize(
    ("shape", "changes", "count"),
    [
        ((4, 4, 1), (), 8),
        ((4, 6, 3), (), 4),
        ((4, 4, 3), ("flip=false",), 4),
        ((4, 4, 3), ("rotate_deg=30",), 2),
        ((4, 4, 3), ("flip=false", "rotate_deg=30"), 1),
    ],
)
def test_a_teacher_sees_the_flips_and_turns_that_training_makes_and_no_other(shape, changes, count):
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    found = views(images, configured("limiar", changes))
    assert len({view.tobytes() for view in found}) == len(found) == count
    assert all(view.shape == images.shape for view in found)
    assert np.array_equal(found[0], images)


def test_a_run_is_continued_without_teachers(taught_run):
    assert continued(run_folder.read_run(taught_run[0]), ()).teachers == 0


def test_several_hosts_train_no_teachers(tmp_path, request_for, silent):
    asked = replace(request_for(tmp_path / "run", *CHANGES), hosts=Hosts(2, 0, "127.0.0.1:9"))
    with pytest.raises(TrainError) as refused:
        train(asked, silent)
    assert refused.value.code == "E-TRAIN-HOSTS"
    assert "teachers=0" in refused.value.message


def test_a_share_of_the_teaching_beyond_one_is_refused():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"teaching": 1.5}, Config)
