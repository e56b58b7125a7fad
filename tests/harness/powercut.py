#!/usr/bin/env python3
"""Cuts the power under a running `limiar scan`, then looks for every answer that it had reported.

    sudo tests/harness/powercut.py [--cuts 100] [--seed N] [--results FILE]

The database is on its own ext4 file system, on a loop device in a separate mount namespace. At a random time the file system is
shut down without flushing its journal (FS_IOC_SHUTDOWN with FSOP_GOING_FLAGS_NOLOGFLUSH): everything that the kernel had not
written is lost, as in a power cut. It is mounted again, and the database must be intact and have every line that was read
before the cut. The control runs with a lower `synchronous` and must lose lines, or this test could not fail. With --journal
rollback the scan treats the disk as a network share, on which a write-ahead log does not work.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import random
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

PROJECT = Path(__file__).resolve().parents[2]
FS_IOC_SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2  # linux/fs/ext4/ext4.h
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18  # sched.h, sys/mount.h
IMAGES = 10_000  # a scan of them takes a few seconds, and a cut comes in the first one
DISK_MB = 128

SCAN = "from limiar.edge_app.cli import main; main()"
LESS = """
from limiar.edge_app.store import writer as store
opened = store.Store.__init__
def without_waiting(self, path, run="scan"):
    opened(self, path, run)
    self._db.execute("PRAGMA synchronous={}")
store.Store.__init__ = without_waiting
"""
ON_A_SHARE = """
from limiar.edge_app.store import database
database.Database.write_ahead_here = lambda self: False
"""
# journal -> what runs before the scan, its `synchronous`, and the control's. FULL does not flush the removal of a rollback
# journal: after the cut the journal is there again, and undoes what was reported.
JOURNALS = {"wal": ("", "FULL", "NORMAL"), "rollback": (ON_A_SHARE, "EXTRA", "FULL")}


class Series(msgspec.Struct):
    """The results of the cuts of one kind."""

    kind: str
    seed: int
    cuts: int = 0
    reported: int = 0  # lines read before a cut
    lost: int = 0  # of these, not in the database after it
    corrupt: int = 0  # databases that failed their integrity check


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, default=PROJECT / "models" / "lung-nodule")
    options.add_argument("--cuts", type=int, default=100)
    options.add_argument("--journal", choices=JOURNALS, default="wal")
    options.add_argument("--seed", type=int, default=random.randrange(2**32))  # not a secret
    options.add_argument("--results", type=Path, help="append the outcome to this file, a JSON line for each kind")
    asked = options.parse_args()
    if os.geteuid() != 0:
        sys.exit("powercut mounts a file system: run it as root")
    private_mounts()
    with tempfile.TemporaryDirectory(prefix="limiar-powercut-") as folder, disk(Path(folder)) as (device, mount):
        images = written(Path(folder) / "images")
        before, synchronous, less = JOURNALS[asked.journal]
        kept = cut_again_and_again(f"{asked.journal}, {synchronous}", before + SCAN, asked, images, device, mount)
        control = cut_again_and_again(f"control: {less}", before + LESS.format(less) + SCAN, asked, images, device, mount)
    print(f"seed {asked.seed}\n{'':<18} {'cuts':>5} {'reported':>9} {'lost':>6} {'corrupt':>8}")
    for series in (kept, control):
        print(f"{series.kind:<18} {series.cuts:>5} {series.reported:>9} {series.lost:>6} {series.corrupt:>8}")
    if asked.results:
        with asked.results.open("ab") as file:
            file.writelines(msgspec.json.encode(series) + b"\n" for series in (kept, control))
    passed = kept.lost == kept.corrupt == 0 and kept.reported > 0 and control.lost > 0
    print("PASS" if passed else "FAIL")
    return 0 if passed else 3


def private_mounts() -> None:
    """Enters a private mount namespace: what is mounted in it disappears with this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        sys.exit(f"powercut needs a mount namespace: {os.strerror(ctypes.get_errno())}")


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[tuple[str, Path]]:
    """An ext4 file system on a loop device, not mounted."""
    image, mount = folder / "disk", folder / "mount"
    with image.open("wb") as file:
        file.truncate(DISK_MB << 20)
    mount.mkdir()
    run("mkfs.ext4", "-q", image)
    device = run("losetup", "--find", "--show", image).strip()
    try:
        yield device, mount
    finally:
        run("losetup", "--detach", device)


def written(folder: Path) -> Path:
    """Writes images, all different; returns the folder."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for index in range(IMAGES):
        Image.fromarray(rng.integers(0, 256, (50, 50), dtype=np.uint8)).save(folder / f"{index:05d}.png", compress_level=1)
    return folder


def cut_again_and_again(kind: str, script: str, asked: argparse.Namespace, images: Path, device: str, mount: Path) -> Series:
    rng = random.Random(asked.seed)
    series = Series(kind, asked.seed)
    for number in range(asked.cuts):
        if sys.stderr.isatty():
            print(f"\r{kind}: {number} cuts ", end="", file=sys.stderr, flush=True)
        run("mount", "-t", "ext4", device, mount)
        for name in mount.glob("results.db*"):
            name.unlink()
        os.sync()
        reported = cut(script, asked.bundle, images, mount, rng)
        run("umount", mount)
        run("mount", "-t", "ext4", device, mount)  # ext4 replays what reached its journal
        whole, found = kept(mount / "results.db")
        run("umount", mount)
        series.cuts += 1
        series.reported += len(reported)
        series.lost += len(reported - found)
        series.corrupt += not whole
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return series


def cut(script: str, bundle: Path, images: Path, mount: Path, rng: random.Random) -> set[str]:
    """Scans, and cuts the power at a random time after the first line. Returns the images whose lines were read before."""
    command = [sys.executable, "-c", script, "scan", str(bundle), str(images), "--db", str(mount / "results.db")]
    lines: list[bytes] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=PROJECT) as scan:
        assert scan.stdout is not None
        lines.append(scan.stdout.readline())
        reader = threading.Thread(target=lines.extend, args=(scan.stdout,), daemon=True)
        reader.start()
        time.sleep(rng.uniform(0, 0.8))
        folder = os.open(mount, os.O_RDONLY)
        before = list(lines)  # only what was read before the cut counts
        fcntl.ioctl(folder, FS_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        os.close(folder)
        scan.kill()
        reader.join()
    return {json.loads(line)["sha256"] for line in before if line.endswith(b"\n")}


def kept(path: Path) -> tuple[bool, set[str]]:
    """Whether the database is whole, and the images that have an answer in it."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as db:
            whole = db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return whole, {sha256.hex() for (sha256,) in db.execute("SELECT image_sha256 FROM results")}
    except sqlite3.Error:
        return False, set()


def run(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(str(word) for word in command)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
