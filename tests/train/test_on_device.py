"""Training where the accelerator is, on several devices and hosts. JAX computes on the CPU here; each run is a process."""

import csv
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import TrainError
from limiar.train.commands import train as cli
from limiar.train.config import Config, Hosts, configured
from limiar.train.data.augment import augmented, draw
from limiar.train.data.feed import labelled
from limiar.train.dataset.image_store import InMemory
from limiar.train.record import run_folder
from ports import free_port

jax = pytest.importorskip("jax", reason="the second backend is in the development extra")

# The smallest input, as compiling takes most of the time; 36 steps, so that batch norm's averages have arrived.
CHANGES = ["epochs=3", "min_per_class=1", "warmup=0", "batch=8", "rate=0.005"]
# --quiet: on a busy machine, how far it is would be among what it says.
OPTIONS = ["--quiet", "--quick", "--size", "8", "--channels", "1", *(word for change in CHANGES for word in ("--set", change))]


# The command, with two of the six convolutions: JAX takes most of the time to compile them, in each of three processes.
COMMAND = """
import functools
from limiar.train.fit.importing import quiet
with quiet():
    from limiar.train.fit import models
models.BUILDERS["compact"] = functools.partial(models.compact, filters=((16, 2), (32, 2)))
from limiar.edge_app.cli import main
main()
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """160 images of noise, dark or light: 96 train, in whole batches, so that one step is compiled."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for k, label in enumerate(("dark", "light")):
        (folder / label).mkdir()
        for number in range(80):
            Image.fromarray(rng.integers(60 * k, 60 * k + 180, (8, 8), dtype=np.uint8)).save(folder / label / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory, images):
    """The same run by model.fit on one device, and by two hosts of two devices each; {process: RUN}."""
    folder = tmp_path_factory.mktemp("runs")
    coordinator = f"127.0.0.1:{free_port()}"
    hosts = ["--hosts", "2", "--coordinator", coordinator]
    asked = {
        "fit": ("fit", [], 1),
        "host 0": ("hosts", [*hosts, "--host", "0"], 2),
        "host 1": ("hosts", [*hosts, "--host", "1"], 2),
    }
    jobs = {}
    for name, (out, options, devices) in asked.items():
        command = [sys.executable, "-P", "-c", COMMAND, "train", images, "--out", folder / out, *OPTIONS, *options]
        environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
        environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
        environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # compiles in half the time
        jobs[name] = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for name, job in jobs.items():
            _, said = job.communicate(timeout=600)
            assert job.returncode == 0, f"{name}: {said}"
            (folder / f"{name}.said").write_text(said)
    finally:
        for job in jobs.values():
            job.kill()
    return {name: folder / out for name, (out, _, _) in asked.items()}


def history(run):
    """[epochs, (loss, val_loss)]"""
    lines = csv.DictReader((run / run_folder.HISTORY).open())
    return np.array([[float(line["loss"]), float(line["val_loss"])] for line in lines])


def test_jax_trains_without_a_word_of_tensorflows(runs):
    lines = (runs["fit"].parent / "fit.said").read_text().splitlines()
    assert [line for line in lines if not line.startswith("the test split can only decide")] == []


def test_jax_trains_and_tensorflow_reads_its_model(runs):
    assert run_folder.read_run(runs["fit"]).versions["backend"] == "jax"
    model = keras.saving.load_model(runs["fit"] / run_folder.MODEL, safe_mode=True)
    assert keras.backend.backend() == "tensorflow"
    assert model.predict(np.zeros((1, 8, 8, 1)), verbose=0).shape == (1, 2)


def test_two_hosts_of_two_devices_learn_what_one_device_learns_by_model_fit(runs):
    # Relative: Adam's steps are as long for a small gradient as for a large one, so rounding grows. 4e-6 was seen.
    assert np.allclose(history(runs["host 0"]), history(runs["fit"]), rtol=1e-3, atol=0)
    assert history(runs["fit"])[-1, 0] < history(runs["fit"])[0, 0]


def test_only_host_0_writes_the_run(runs):
    assert sorted(path.name for path in runs["host 0"].parent.iterdir() if path.is_dir()) == ["fit", "hosts"]


@pytest.mark.parametrize("sharp", [False, True])
@pytest.mark.parametrize(("height", "width", "channels"), [(40, 40, 3), (30, 50, 1)])
def test_the_device_warps_as_opencv_does(height, width, channels, sharp):
    from limiar.train.device.on_device import inverse, warped

    images = np.random.default_rng(0).integers(0, 256, (64, height, width, channels), dtype=np.uint8)
    config = Config(shift_px=10, zoom=0.3)
    want = augmented(images, np.random.default_rng(1), config, sharp)
    maps = inverse(draw(len(images), height, width, np.random.default_rng(1), config, sharp).maps)
    apart = np.abs(np.asarray(jax.jit(warped)(images, maps)) - want)
    assert apart.max() <= 1  # grey level, where a value lies between two
    assert (apart > 0).mean() < 0.001


def test_the_device_lights_as_the_host_does():
    from limiar.train.device.on_device import lit

    pixels = np.random.default_rng(0).integers(0, 256, (32, 20, 20, 3)).astype(np.float32)
    light = draw(32, 20, 20, np.random.default_rng(1), Config(brightness=15, contrast=0.2, noise=6)).light
    gain, offset, deviation = light.T[..., None, None, None]
    quiet = np.asarray(lit(pixels, light * [1, 1, 0], np.arange(32)))
    assert np.abs(quiet - np.clip(pixels * gain + offset, 0, 255)).max() <= 0.5001  # rounded to whole grey levels
    grey = np.full_like(pixels, 128)
    grain = np.asarray(lit(grey, light, np.arange(32))) - 128 * gain - offset
    measured, meant = grain.std(axis=(1, 2, 3)), deviation[:, 0, 0, 0]
    seen = meant > 1  # below, rounding to whole levels decides
    assert np.allclose(measured[seen], meant[seen], rtol=0.15)  # of 400 pixels: 4 standard errors
    assert np.array_equal(grain[..., 0], grain[..., 1])


def test_a_batch_that_cannot_be_divided_among_the_devices_is_refused(monkeypatch):
    from limiar.train.device.on_device import DeviceEpochs

    monkeypatch.setattr(jax, "devices", lambda: [None] * 3)
    store = InMemory(9, InputSpec(height=8, width=8, channels=1))
    examples = labelled(store, np.arange(9), np.arange(9) % 2, 2, balance=False)
    with pytest.raises(TrainError) as refused:
        DeviceEpochs(None, examples, Config(batch=64), seed=0)
    assert refused.value.code == "E-TRAIN-BATCH"
    assert "--set batch=63" in refused.value.message


def test_hosts_that_were_given_other_images_are_named(monkeypatch):
    from limiar.train.device import hosts

    others = [bytes(32), bytes(32), bytes([1] * 32)]
    monkeypatch.setattr(hosts.multihost_utils, "process_allgather", lambda own: np.array([list(line) for line in others]))
    with pytest.raises(TrainError) as refused:
        hosts.check_same("images", bytes(32))
    assert refused.value.code == "E-TRAIN-HOSTS"
    assert "host 2 has other images than host 0" in refused.value.message


def test_what_needs_jax_says_how_to_get_it(tmp_path, request_for, silent):
    from limiar.train.run.make_run import make_run

    hosts = Hosts(count=2, own=0, coordinator="127.0.0.1:1")
    for changes, more in [(["on_device=yes"], {}), ([], {"hosts": hosts})]:
        with pytest.raises(TrainError) as refused:
            make_run(request_for(tmp_path / "run", *changes, **more), silent)
        assert refused.value.code == "E-TRAIN-BACKEND"
        assert "KERAS_BACKEND=jax" in refused.value.message


@pytest.mark.parametrize(
    "options",
    [
        ["--hosts", "2"],
        ["--hosts", "2", "--host", "2", "--coordinator", "a:1"],
        ["--hosts", "2", "--host", "0", "--coordinator", "a"],
    ],
)
def test_hosts_are_told_apart_and_have_a_place_to_meet(tmp_path, options):
    done = CliRunner().invoke(cli.train, [str(tmp_path), "--out", str(tmp_path / "run"), *options])
    assert done.exit_code == 2


@pytest.mark.parametrize("out", [".", "..", "/"])
def test_a_host_that_assists_needs_a_folder_with_a_name(tmp_path, out):
    words = [str(tmp_path), "--out", out, "--hosts", "2", "--host", "1", "--coordinator", "127.0.0.1:1"]
    refused = CliRunner().invoke(cli.train, words, standalone_mode=False).exception
    assert isinstance(refused, TrainError)
    assert refused.code == "E-TRAIN-OUT"


def test_a_precision_that_is_none_is_refused():
    with pytest.raises(TrainError) as refused:
        configured("limiar", ["precision=int8"])
    assert refused.value.code == "E-TRAIN-CONFIG"
