#!/usr/bin/env python3
"""Cuts the power under `limiar run` while images wait in its folder, then starts it again: is each answered, and none gone?

    sudo tests/harness/service_powercut.py [--cuts 20] [--seed N] [--results FILE]

Folder and state are on one ext4 disk, which is cut as in tests/harness/powercut.py. A file that was in done/ before the cut
counts as acknowledged: its answer must be there after it. The control does not wait for the disk.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import fcntl
import hashlib
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from powercut import FS_IOC_SHUTDOWN, LESS, NOLOGFLUSH, PROJECT, disk, kept, private_mounts, run
from running import REAL
from services import Service, noise

IMAGES = 1000  # more than a service answers until the cut
LONGEST_S = 1.0  # from the first moved file to the cut


@dataclass
class Series:
    """The results of the cuts of one kind."""

    kind: str
    seed: int
    cuts: int = 0
    acknowledged: int = 0  # files that were in done/ before a cut
    lost: int = 0  # of these, without an answer after it
    gone: int = 0  # files that were nowhere after it
    corrupt: int = 0  # databases that failed their integrity check
    unanswered: int = 0  # images without an answer after the next start


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, default=PROJECT / "models" / "lung-nodule")
    options.add_argument("--cuts", type=int, default=20)
    options.add_argument("--seed", type=int, default=random.randrange(2**32))  # not a secret
    options.add_argument("--results", type=Path, help="append the outcome to this file, a JSON line for each kind")
    asked = options.parse_args()
    if os.geteuid() != 0:
        sys.exit("service_powercut mounts a file system: run it as root")
    private_mounts()
    images = noise(IMAGES)
    with tempfile.TemporaryDirectory(prefix="limiar-powercut-") as folder, disk(Path(folder)) as at:
        real = cut_again_and_again("limiar run", REAL, asked, images, at)
        control = cut_again_and_again("control", LESS.format("OFF") + REAL, asked, images, at)
    heads = ("cuts", "acknowledged", "lost", "gone", "corrupt", "unanswered")
    print(f"seed {asked.seed}\n{'':<12} {' '.join(f'{head:>12}' for head in heads)}")
    for one in (real, control):
        print(f"{one.kind:<12} {' '.join(f'{getattr(one, head):>12}' for head in heads)}")
    if asked.results:
        with asked.results.open("ab") as file:
            file.writelines(msgspec.json.encode(one) + b"\n" for one in (real, control))
    passed = real.lost == real.gone == real.corrupt == real.unanswered == 0 < real.acknowledged and control.lost > 0
    print("PASS" if passed else "FAIL")
    return 0 if passed else 3


def cut_again_and_again(kind: str, script: str, asked: argparse.Namespace, images: list[bytes], at: tuple[str, Path]) -> Series:
    device, mount = at
    rng = random.Random(asked.seed)
    series = Series(kind, asked.seed)
    for _ in range(asked.cuts):
        run("mount", "-t", "ext4", device, mount)
        shutil.rmtree(mount / "device", ignore_errors=True)
        service = Service(mount / "device", asked.bundle.resolve(), script=script)
        service.log = mount.parent / "log"
        for k, data in enumerate(images):
            (service.inbox / f"{k:03d}.png").write_bytes(data)
        os.sync()
        acknowledged = cut(service, mount, rng)
        unmount(mount)
        run("mount", "-t", "ext4", device, mount)  # ext4 replays what reached its journal
        whole, found = kept(service.db)
        there = {path.name for path in service.inbox.rglob("*.png")}
        series.cuts += 1
        series.acknowledged += len(acknowledged)
        series.lost += len(acknowledged - found)
        series.gone += IMAGES - len(there)
        series.corrupt += not whole
        service.script = REAL
        service.start()
        service.wait(lambda device=service: not device.waiting(), 120)  # type: ignore[misc]
        service.end()
        series.unanswered += len({hashlib.sha256(data).hexdigest() for data in images} - kept(service.db)[1])
        unmount(mount)
    return series


def cut(service: Service, mount: Path, rng: random.Random) -> set[str]:
    """Starts the service, and cuts the power after it has moved a file. Returns sha256 of the files that it had moved."""
    service.start()
    service.wait(service.done, 60)
    time.sleep(rng.uniform(0, LONGEST_S))
    folder = os.open(mount, os.O_RDONLY)
    done = service.done()  # only what was seen before the cut counts
    fcntl.ioctl(folder, FS_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
    os.close(folder)
    service.kill()
    return {hashlib.sha256(data).hexdigest() for data in done.values()}


def unmount(mount: Path) -> None:
    """Once the last process that was killed has let go of it."""
    end = time.monotonic() + 10
    while subprocess.run(["umount", str(mount)], capture_output=True, check=False).returncode and time.monotonic() < end:
        time.sleep(0.05)
    assert not mount.is_mount()


if __name__ == "__main__":
    sys.exit(main())
