"""The RUN contract, read and written without training anything."""

import hashlib
import lzma
import os

import msgspec
import pytest

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.train.record import run_folder
from limiar.train.record.run_folder import PredictionRow, Run, RunError, SplitRow, TrainingData

ROWS = (
    SplitRow("a_pos.png", "a" * 64, "pos", "train_more", ""),
    SplitRow('odd "name",\n\r=1\r\n\udcff.png', "b" * 64, "neg", "test", "scan 1"),
)
ANSWERS = (PredictionRow("a" * 64, "train_more", "pos", (-1.25, 0.1)), PredictionRow("b" * 64, "test", "neg", (3.0, -2.0)))
LABELS = ("neg", "pos")


@pytest.fixture
def folder(tmp_path):
    splits = run_folder.splits_csv(ROWS)
    (tmp_path / run_folder.MODEL).write_bytes(b"a model")
    (tmp_path / run_folder.SPLITS).write_bytes(splits)
    (tmp_path / run_folder.PREDICTIONS).write_bytes(run_folder.predictions_csv(ANSWERS, LABELS))
    run = Run(
        model="compact",
        recipe="limiar",
        labels=LABELS,
        positive="pos",
        input=InputSpec(height=40, width=40, channels=3),
        data=TrainingData(folder="/images", images=2, sha256=hashlib.sha256(splits).hexdigest()),
        seed=0,
        config={"epochs": 1, "rate": 0.001, "flip": True},
        temperature=1.5,
        epochs=1,
        best_epoch=1,
        versions={"python": "3.11"},
        commit="unknown",
        model_sha256=hashlib.sha256(b"a model").hexdigest(),
    )
    (tmp_path / run_folder.RECORD).write_bytes(run_folder.record_json(run))
    return tmp_path


def read_all(folder):
    run = run_folder.read_run(folder)
    return run, run_folder.read_splits(folder, run), run_folder.read_predictions(folder, run)


def test_what_was_written_is_read_back(folder):
    run, splits, predictions = read_all(folder)
    assert run.config == {"epochs": 1, "rate": 0.001, "flip": True}
    assert (splits, predictions) == (ROWS, ANSWERS)


def test_a_split_that_begins_with_train_is_training(folder):
    assert [row.part for row in run_folder.read_splits(folder, run_folder.read_run(folder))] == ["train", "test"]


def test_a_packed_table_reads_the_same(folder):
    table = folder / run_folder.SPLITS
    (folder / f"{run_folder.SPLITS}.xz").write_bytes(lzma.compress(table.read_bytes()))
    table.unlink()
    assert run_folder.read_splits(folder, run_folder.read_run(folder)) == ROWS


def test_a_damaged_packed_table_is_refused(folder):
    (folder / run_folder.SPLITS).unlink()
    (folder / f"{run_folder.SPLITS}.xz").write_bytes(b"no xz")
    with pytest.raises(RunError) as refused:
        run_folder.read_splits(folder, run_folder.read_run(folder))
    assert refused.value.code == "E-RUN-PACKED"


@pytest.mark.parametrize(
    ("name", "damage", "code"),
    [
        (run_folder.MODEL, lambda data: data + b"x", "E-RUN-HASH"),
        (run_folder.SPLITS, lambda data: data.replace(b"neg", b"pos"), "E-RUN-HASH"),
        (run_folder.RECORD, lambda data: data.replace(b'"seed"', b'"sead"'), "E-RUN-RECORD"),
        (run_folder.RECORD, lambda data: data[:-9], "E-RUN-RECORD"),
        (run_folder.PREDICTIONS, lambda data: data.replace(b"logit_pos", b"logit_neg"), "E-RUN-TABLE"),
        (run_folder.PREDICTIONS, lambda data: data.replace(b",0.1", b""), "E-RUN-TABLE"),
        (run_folder.PREDICTIONS, lambda data: data.replace(b",0.1", b",half"), "E-RUN-TABLE"),
        (run_folder.PREDICTIONS, lambda data: data + b'"' + b"x" * 200_000, "E-RUN-TABLE"),
    ],
)
def test_a_damaged_run_is_refused(folder, name, damage, code):
    path = folder / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunError) as refused:
        read_all(folder)
    assert refused.value.code == code


@pytest.mark.parametrize("name", [run_folder.MODEL, run_folder.RECORD, run_folder.SPLITS])
def test_a_run_with_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(RunError) as refused:
        run_folder.read_splits(folder, run_folder.read_run(folder))
    assert refused.value.code == "E-RUN-MISSING"


@pytest.mark.parametrize("name", ["a\rb.png", "\r", "a\r\nb.png", "=1\r+2", '"\r"', "a\udcff\r,b"])
def test_a_carriage_return_stays_in_its_cell(folder, name):
    rows = (SplitRow(name, "a" * 64, name, "train", name), ROWS[0])
    table = run_folder.splits_csv(rows)
    (folder / run_folder.SPLITS).write_bytes(table)
    run = msgspec.structs.replace(
        run_folder.read_run(folder), data=TrainingData("/images", 2, hashlib.sha256(table).hexdigest())
    )
    assert run_folder.read_splits(folder, run) == rows


def devour(path):
    """Something that a naive reader waits for, or never comes to the end of."""
    path.unlink()
    os.symlink("/dev/zero", path)


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def endless(path):
    path.unlink()
    with path.open("wb") as file:
        file.truncate(4 << 30)


def linked(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def is_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [devour, fifo, endless, linked, is_folder])
@pytest.mark.parametrize("name", [run_folder.MODEL, run_folder.RECORD, run_folder.SPLITS, run_folder.PREDICTIONS])
def test_a_file_of_a_run_that_is_no_plain_file_is_refused_at_once(folder, name, damage):
    damage(folder / name)
    with pytest.raises(RunError) as refused:
        read_all(folder)
    assert refused.value.code == "E-RUN-MISSING"
    assert name in refused.value.message


@pytest.mark.parametrize("damage", [devour, fifo, endless, linked])
def test_a_packed_table_that_is_no_plain_file_is_refused_at_once(folder, damage):
    packed = folder / f"{run_folder.SPLITS}.xz"
    packed.write_bytes(lzma.compress((folder / run_folder.SPLITS).read_bytes()))
    (folder / run_folder.SPLITS).unlink()
    damage(packed)
    with pytest.raises(RunError) as refused:
        read_all(folder)
    assert refused.value.code == "E-RUN-MISSING"
