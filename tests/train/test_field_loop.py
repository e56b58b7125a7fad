"""The loop from the field to retraining: scan, review, export, continue training."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from limiar.edge_app.answer import Answer, Timing
from limiar.edge_app.cli import limiar
from limiar.edge_app.results.dataset import export_dataset
from limiar.edge_app.store.reader import Filter
from limiar.edge_app.store.writer import BundleKey, Kept, Store
from limiar.train.data.phantoms import phantoms
from limiar.train.record import run_folder

BUNDLE = Path(__file__).parents[2] / "models/lung-nodule"
KEY = BundleKey(sha256="ab" * 32, name="tiny", version="1", file="tflite_int8", runtime="litert 2", labels=("neg", "pos"))


def run(*arguments: object) -> str:
    result = CliRunner().invoke(limiar, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_what_was_scanned_and_reviewed_is_trained_on(tmp_path, small_run, phantom_folder):
    inbox, db, out = tmp_path / "inbox", tmp_path / "results.db", tmp_path / "reviewed"
    inbox.mkdir()
    for name, data in phantoms(6, seed=11):
        (inbox / f"new-{name}").write_bytes(data)
    run("scan", BUNDLE, inbox, "--db", db, "--workers", "1")
    listed = [json.loads(line) for line in run("results", "--json", "--db", db).splitlines()]
    assert len(listed) == 6
    other = {"neg": "pos", "pos": "neg"}
    for line in listed[:5]:
        if line["id"] % 2:
            run("results", "overrule", line["id"], other[line["label"]], "--by", "Ana", "--why", "=1+1", "--db", db)
        else:
            run("results", "confirm", line["id"], "--by", "Ana", "--db", db)
    moved = Path(listed[0]["path"])
    (inbox / "done").mkdir()
    moved.rename(inbox / "done" / f"{moved.stem}-2{moved.suffix}")
    run("results", "export-dataset", out, "--db", db)

    said = {line["id"]: other[line["label"]] if line["id"] % 2 else line["label"] for line in listed[:5]}
    with (out / "reviewed.csv").open(newline="") as table:
        lines = list(csv.DictReader(table))
    assert {int(line["id"]): line["label"] for line in lines} == said
    for line in lines:
        assert hashlib.sha256((out / line["file"]).read_bytes()).hexdigest() == line["sha256"]

    add = ("--add", out / "reviewed.csv", "--out", tmp_path / "run2", "--set", "epochs=1")
    run("train", phantom_folder, "--from", small_run, *add)
    trained = run_folder.read_run(tmp_path / "run2")
    assert trained.parent.added == 5


@pytest.fixture
def db(tmp_path):
    """A frame whose picture was kept, one whose name leads out, and a file that is gone; all reviewed."""
    path = tmp_path / "state" / "results.db"
    (path.parent / "frames" / "bench").mkdir(parents=True)
    (path.parent / "frames" / "bench" / "1.jpg").write_bytes(b"picture")
    shutil.copy(path.parent / "frames" / "bench" / "1.jpg", tmp_path / "secret")
    digest = hashlib.sha256(b"picture").digest()
    answer = Answer("pos", "pos", 0.9, {"neg": 0.1, "pos": 0.9}, Timing(0.1, 0.2, 0.3), "2026", "limiar 0")
    with Store(path) as store:
        store.use(KEY, "bundle")
        store.add_frame("bench", "boot", 1, 0, answer, None, Kept("bench/1.jpg", digest))
        store.add_frame("bench", "boot", 2, 0, answer, None, Kept("../../secret", b"x" * 32))
        store.add(b"1" * 32, b"/nowhere/a\xff.png", answer)
        for entry in (1, 2, 3):
            store.review(entry, "neg", "Ana", "")
    return path


def test_kept_frames_are_exported_and_what_is_missing_is_named(db, tmp_path):
    found = export_dataset(db, tmp_path / "out", Filter())
    assert (found.images, len(found.missing)) == (1, 2)
    assert (tmp_path / "out" / "images" / "1.jpg").read_bytes() == b"picture"
    assert "2 reviewed images not found" in found.text()


def test_a_changed_file_is_not_exported_and_then_there_is_no_folder(db, tmp_path):
    (db.parent / "frames" / "bench" / "1.jpg").write_bytes(b"another")
    result = CliRunner().invoke(limiar, ["results", "export-dataset", str(tmp_path / "out"), "--db", str(db)])
    assert "E-RESULT-NONE" in str(result.exception)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_a_folder_that_has_something_in_it_is_left_alone(db, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    result = CliRunner().invoke(limiar, ["results", "export-dataset", str(tmp_path / "out"), "--db", str(db)])
    assert "E-OUTPUT-WRITE" in str(result.exception)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
