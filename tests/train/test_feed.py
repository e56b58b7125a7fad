"""How images get to the network: in which order, from which store, and without being kept in memory."""

import io
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.train.config import Config, configured
from limiar.train.data import feed
from limiar.train.data.feed import Examples, batches, labelled
from limiar.train.dataset.image_folder import load
from limiar.train.dataset.image_store import InMemory, OnDisk
from limiar.train.dataset.splits import Shares
from limiar.train.fit.fit import Identity, fit, logits
from limiar.train.fit.unfinished import partial_folder
from limiar.train.record.run_folder import Epoch
from limiar.train.run.make_run import make_run

SPEC = InputSpec(height=96, width=96, channels=3)
HELD_BYTES = 2000 * 96 * 96 * 3  # of 2,000 images: 55 MB


class Stopped(Exception):
    """A kill, as far as the loop can tell."""


@pytest.fixture
def examples():
    store = InMemory(50, InputSpec(height=12, width=12, channels=1))
    rng = np.random.default_rng(0)
    with store:
        for k in range(50):
            store.put(k, b"", rng.integers(0, 256, (12, 12, 1), dtype=np.uint8))
    targets = rng.dirichlet(np.ones(3), 40).astype(np.float32)
    return Examples(store, np.arange(10, 50), targets, np.arange(40, dtype=np.float32))


def test_an_epoch_is_the_same_whatever_the_threads_do(examples, monkeypatch):
    def epoch(number, threads):
        monkeypatch.setattr(feed, "THREADS", threads)
        monkeypatch.setattr(feed, "AHEAD", threads)
        return list(batches(examples, Config(batch=16), seed=5, epoch=number))

    alone, together, other = epoch(1, 1), epoch(1, 8), epoch(2, 8)
    assert [len(images) for images, _, _ in alone] == [16, 16, 8]
    for one, same in zip(alone, together, strict=True):
        assert all(np.array_equal(mine, theirs) for mine, theirs in zip(one, same, strict=True))
    assert not np.array_equal(alone[0][0], other[0][0])


def test_each_image_comes_once_with_its_own_target_and_weight(examples):
    still = configured("limiar", ["flip=false", "rotate_deg=0", "shift_px=0", "zoom=0", "batch=16"])
    images, targets, weights = (np.concatenate(part) for part in zip(*batches(examples, still, 0, 1), strict=True))
    own = weights.astype(int)  # the weights above count the examples
    assert sorted(own) == list(range(40))
    assert np.array_equal(images, examples.images.take(examples.rows[own]))
    assert np.array_equal(targets, examples.targets[own])


def test_a_very_rare_class_does_not_weigh_as_much_as_all_others():
    truth = np.repeat([0, 1], [9990, 10])
    weights = labelled(InMemory(0, SPEC), np.arange(10_000), truth, 2, balance=True).weights
    assert weights.mean() == pytest.approx(1.0)
    assert weights.max() < 20  # 500 would make the two classes weigh the same


def test_a_run_from_disk_goes_on_without_reading_again_and_gives_the_weights_of_one_in_memory(
    tmp_path, request_for, silent, small_run, monkeypatch
):
    out, notes = tmp_path / "run", []
    asked = request_for(out, "epochs=3", "memory_mb=0.1")

    def stop(line: Epoch):
        if line.epoch == 2:
            raise Stopped

    with pytest.raises(Stopped):
        make_run(asked, replace(silent, epoch=stop, note=notes.append))
    assert re.match(r"160 images take 0\.7 MB, more than 0\.1 MB: they are read from .*run\.partial", notes[0])
    monkeypatch.setattr(OnDisk, "put", None)  # whatever would be decoded again fails
    make_run(asked, silent)
    assert (out / "model.keras").read_bytes() == (small_run / "model.keras").read_bytes()
    assert (out / "predictions.csv").read_bytes() == (small_run / "predictions.csv").read_bytes()
    assert not partial_folder(out).exists()


@pytest.fixture(scope="module")
def two_thousand(tmp_path_factory):
    """2,000 small images in two class folders."""
    folder, rng = tmp_path_factory.mktemp("two-thousand"), np.random.default_rng(0)
    for k in range(2000):
        data = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(data, "PNG")
        path = folder / ("even" if k % 2 == 0 else "odd") / f"{k}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data.getvalue())
    return folder


def resident_bytes(name: str) -> int:
    """VmRSS, now, or VmHWM, its peak."""
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10


def grown_by(job) -> int:
    """By how many bytes the process grew at most while it did the job."""
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak is now
    before = resident_bytes("VmRSS")
    job()
    return resident_bytes("VmHWM") - before


def test_two_thousand_images_are_trained_on_and_not_held(tmp_path, two_thousand, request_for, monkeypatch):
    # What is on its way at a time, as float32 too, must be little beside all images: with batches of 32 on two processors it
    # was half of them, and it grows with the processors.
    monkeypatch.setattr("limiar.train.fit.fit.PREDICT_BATCH", 8)
    monkeypatch.setattr(feed, "THREADS", 2)
    monkeypatch.setattr(feed, "AHEAD", 4)

    def read(keep):
        return load(two_thousand, None, SPEC, Shares(seed=0), lambda done, total: None, keep)[0]

    def build():
        sides = (SPEC.height, SPEC.width, SPEC.channels)
        return keras.Sequential([keras.Input(sides), layers.GlobalAveragePooling2D(), layers.Dense(2)])

    def train_on_disk(folder):
        data = read(partial(OnDisk, folder))
        parts = [data.part(name) for name in ("train", "val")]
        train, val = (labelled(data.images, rows, data.truth[rows], 2, balance=True) for rows in parts)
        config = request_for(tmp_path, "batch=8").config
        identity = Identity(
            **dict.fromkeys(("model", "recipe", "decode", "resize", "data_sha256", "backend"), ""),
            **dict.fromkeys(("height", "width", "channels", "seed"), 0),
            labels=data.labels,
            config=config,
        )
        fitted = fit(build, train, val, config, identity, folder, lambda epoch: None)
        assert logits(fitted.model, data.images, np.arange(2000)).shape == (2000, 2)

    train_on_disk(tmp_path / "first")  # what TensorFlow takes for itself is no image
    grown = [grown_by(lambda folder=tmp_path / name: train_on_disk(folder)) for name in ("second", "third")]
    assert min(grown) < HELD_BYTES / 2  # other work on the machine, or of tests before, only adds
    assert grown_by(lambda: read(InMemory)) > HELD_BYTES / 2  # so the measure above sees images that are held
