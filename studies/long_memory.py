#!/usr/bin/env python3
"""Trains on generated images and on ten times as many, and prints the memory of both: pixels must not be kept in memory.

    studies/long_memory.py [--images 200000]

Prints images, peak memory of the training process (its resident set, `ru_maxrss`) and seconds for a tenth and for all of them,
and the memory of each additional image. Exit status 1 if that exceeds LIMIT_BYTES. 200,000 images take about 3 GB of disk, in
the folder for temporary files, and a quarter of an hour on two cores.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

# Of each additional image: its file name, hashes, split and answers, most of them more than once for a moment.
LIMIT_BYTES = 1_500
SIDE_PX = 48
PIXEL_BYTES = SIDE_PX * SIDE_PX * 3  # of an image as the model gets it, which must not stay in memory
MEMORY_MB = 8  # the limit that limiar train is given, so that both sets are read from disk


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    asked = parser.parse_args()
    counts = (asked.images // 10, asked.images)
    if counts[0] * PIXEL_BYTES <= MEMORY_MB << 20:
        parser.error(f"a tenth of {asked.images} images would be held in memory: give more")
    peaks = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            images, run = Path(folder, "images"), Path(folder, "run")
            write_images(images, count)
            peak_bytes, seconds = train(images, run)
        peaks.append(peak_bytes)
        print(f"{count:8} images  peak {peak_bytes >> 20:6} MB  {seconds:6.0f} s", flush=True)
    grown = (peaks[1] - peaks[0]) / (counts[1] - counts[0])
    good = grown <= LIMIT_BYTES
    print(f"each additional image took {grown:.0f} bytes, at most {LIMIT_BYTES}: {'yes' if good else 'NO'}", end="; ")
    print(f"its pixels have {PIXEL_BYTES}")
    return 0 if good else 1


def write_images(folder: Path, count: int) -> None:
    """Writes grey noise, 12x12 pixels, in two class folders, one of them brighter."""
    rng = np.random.default_rng(0)
    for name in ("dark", "bright"):
        (folder / name).mkdir(parents=True)
    for k in range(count):
        pixels = rng.integers(0, 128, (12, 12), dtype=np.uint8) + np.uint8(k % 2 * 64)
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG", compress_level=1)
        (folder / ("bright" if k % 2 else "dark") / f"{k:07}.png").write_bytes(data.getvalue())


def train(images: Path, run: Path) -> tuple[int, float]:
    """(peak bytes, seconds) of training for one epoch."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "limiar",
        "train",
        images,
        "--quick",
        "--out",
        run,
        "--size",
        str(SIDE_PX),
    ]
    changes = ("epochs=1", "warmup=0", f"memory_mb={MEMORY_MB}")
    started = time.monotonic()
    process = subprocess.Popen([*command, *(word for change in changes for word in ("--set", change))])
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"limiar train ended with status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss << 10, time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
