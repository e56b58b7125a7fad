#!/usr/bin/env python3
"""How fast is `limiar train` compared with a plain `model.fit` on the same arrays, and how busy is the device?

    KERAS_BACKEND=jax studies/train_speed.py [--images 4096] [--rounds 5] [--batch 64] [--precision auto]

Everything is measured in one run, on whatever device JAX finds: three ways take turns, epoch by epoch, each figure is the
median of its rounds, and on a shared machine only ratios are worth quoting. Images are generated. `plain` is model.fit on
arrays in memory with Keras's defaults: no augmentation, float32, XLA. `host` is what limiar does without an accelerator,
`device` what it does with one (train/device/on_device.py); both augment. `computes` is the share of an epoch's time that the
device needs for the same steps if their inputs are ready: for the rest it waits for the host. Gaps between the kernels of a
step count as computing.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import keras
import numpy as np

from limiar.edge_app.system.machine import cpu_model
from limiar.train.config import INPUT, configured
from limiar.train.data.feed import Examples, batches, labelled
from limiar.train.dataset.image_store import InMemory
from limiar.train.device.on_device import DeviceEpochs
from limiar.train.fit import models
from limiar.train.fit.fit import compiled, prepare

WAYS = ("plain", "host", "device")


def main() -> None:
    asked = arguments()
    if keras.backend.backend() != "jax":
        raise SystemExit("train_speed measures JAX: KERAS_BACKEND=jax studies/train_speed.py")
    devices = ", ".join(f"{one.platform} {one.device_kind}" for one in jax.devices())
    print(f"{devices}; {cpu_model(Path('/proc/cpuinfo').read_text())}; JAX {jax.__version__}, Keras {keras.__version__}")
    print(f"{asked.images} images of 40x40x3, batches of {asked.batch}, {asked.rounds} rounds; images per second, median\n")
    print(f"{'':9}" + "".join(f"{title:>14}" for title in (*WAYS, "device/plain", "device/host", "computes")))
    for name in models.BUILDERS:
        seconds, share = measured(name, asked)
        figures = [f"{asked.images / seconds[way]:.0f}" for way in WAYS]
        figures += [f"{seconds[way] / seconds['device']:.2f}" for way in ("plain", "host")]
        print(f"{name:9}" + "".join(f"{figure:>14}" for figure in (*figures, f"{share:.0%}")), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16", "float16"], default="auto")
    return parser.parse_args()


def measured(name: str, asked: argparse.Namespace) -> tuple[dict[str, float], float]:
    """Median seconds of an epoch for each way, and the share of `device` in which the device computes."""
    examples = generated(asked.images)
    config = configured("limiar", [f"batch={asked.batch}", f"precision={asked.precision}"])
    steps = -(-asked.images // config.batch)

    def network() -> keras.Model:
        return compiled(models.build(name, INPUT, 2, config.dropout), config, steps)

    keras.mixed_precision.set_global_policy("float32")
    plain = network()
    pixels = examples.images.take(examples.rows)
    prepare(0, config)
    host, device = network(), DeviceEpochs(network(), examples, config, seed=0)
    ways: dict[str, Callable[[int], object]] = {
        "plain": lambda epoch: plain.fit(pixels, examples.targets, batch_size=config.batch, epochs=1, verbose=0),
        "host": lambda epoch: host.fit(batches(examples, config, 0, epoch), steps_per_epoch=steps, shuffle=False, verbose=0),
        "device": device.train,
    }
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    computed = []
    for epoch in range(1, asked.rounds + 2):
        for way in WAYS:
            seconds[way].append(timed(partial(ways[way], epoch)))
        computed.append(computing(device, epoch))
    median = {way: statistics.median(each[1:]) for way, each in seconds.items()}  # the first compiles
    return median, min(1.0, statistics.median(computed[1:]) / median["device"])


def generated(count: int) -> Examples:
    """Noise with two labels: what is learned does not matter here."""
    images = InMemory(count, INPUT)
    rng = np.random.default_rng(0)
    for row in range(count):
        images.put(row, b"", rng.integers(0, 256, (INPUT.height, INPUT.width, INPUT.channels), np.uint8))
    return labelled(images, np.arange(count), np.arange(count) % 2, 2)


def computing(device: DeviceEpochs, epoch: int) -> float:
    """Seconds of an epoch's steps alone; the result is thrown away."""
    calls = jax.block_until_ready(list(device.calls(epoch)))  # type: ignore[no-untyped-call]

    def run() -> None:
        state = device.state
        for images, own in calls:
            state, sums = device.steps(state, images, own)
        jax.block_until_ready((state, sums))  # type: ignore[no-untyped-call]

    return timed(run)


def timed(work: Callable[[], object]) -> float:
    """Seconds that the work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
