"""The networks of a RUN and of an unfinished run are loaded within bounds: they may come from someone else."""

import hashlib
import io
import json
import shutil
import zipfile
from dataclasses import replace

import keras
import pytest

from limiar.edge_app.errors import TrainError
from limiar.train.config import continued
from limiar.train.data.reviewed import open_parent
from limiar.train.fit.network import load_network
from limiar.train.fit.unfinished import partial_folder
from limiar.train.record.run_folder import MODEL, RECORD, read_run, read_splits
from limiar.train.run.make_run import make_run


def asking(data: bytes, units: int) -> bytes:
    """The .keras file with its first dense layer asking for so many units, and unchanged weights."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Dense")["config"]["units"] = units
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (members | {"config.json": json.dumps(config).encode()}).items():
            archive.writestr(name, content)
    return buffer.getvalue()


def refusal(data: bytes) -> TrainError:
    with pytest.raises(TrainError) as refused:
        load_network(data, "model.keras", "E-TRAIN-FROM", "train anew")
    assert "\n" not in refused.value.message
    return refused.value


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dropout(0.5), keras.layers.Dense(2)])
    path = tmp_path_factory.mktemp("network") / "model.keras"
    model.save(path)
    return path.read_bytes()


def test_a_network_is_loaded_as_it_was_saved(saved: bytes) -> None:
    model = load_network(saved, "model.keras", "E-TRAIN-FROM", "train anew")
    assert model.output_shape == (None, 2)
    assert model.count_params() == 8 * 8 * 3 * 2 + 2


def test_weights_that_only_the_configuration_asks_for_are_not_made(saved: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.saving, "load_model", lambda *_, **__: pytest.fail("loaded"))
    assert "it asks for 14724 MiB of weights" in refusal(asking(saved, 20_000_000)).message


@pytest.mark.parametrize("kind", ["cut", "empty", "no archive", "other units"])
def test_a_damaged_network_is_refused_in_one_line(saved: bytes, kind: str) -> None:
    data = {"cut": saved[:-100], "empty": b"", "no archive": b"\x00" * 1000, "other units": asking(saved, 3)}[kind]
    assert refusal(data).code == "E-TRAIN-FROM"


def test_a_run_whose_network_asks_for_too_much_is_not_trained_on(tmp_path, request_for, silent, small_run, phantom_folder):
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    data = asking((run / MODEL).read_bytes(), 200_000_000)
    (run / MODEL).write_bytes(data)
    record = json.loads((run / RECORD).read_text())
    (run / RECORD).write_text(json.dumps(record | {"model_sha256": hashlib.sha256(data).hexdigest()}))
    known = next(row for row in read_splits(small_run, read_run(small_run)) if row.split == "train")
    other = "pos" if known.label == "neg" else "neg"
    (tmp_path / "reviewed.csv").write_text(f"path,label\n{phantom_folder / known.file},{other}\n")
    parent = open_parent(run, tmp_path / "reviewed.csv")
    asked = request_for(tmp_path / "again").continuing(parent, continued(parent.run, ["epochs=1"]))
    with pytest.raises(TrainError) as refused:
        make_run(asked, silent)
    assert refused.value.code == "E-TRAIN-FROM"
    assert "MiB of weights" in refused.value.message


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_an_unfinished_run_whose_network_is_damaged_says_how_to_start_again(unfinished, request_for, silent, damage):
    out = unfinished
    checkpoint = next(partial_folder(out).glob("epoch-*.keras"))
    if damage == "cut":
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    else:
        checkpoint.unlink()
    with pytest.raises(TrainError) as refused:
        make_run(replace(request_for(out), resume=True), silent)
    assert refused.value.code == "E-TRAIN-RESUME"
    assert "remove that folder to start again" in refused.value.message
