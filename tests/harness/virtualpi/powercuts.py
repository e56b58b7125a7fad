"""Cuts the power of a booted machine in the middle of `limiar scan`, then looks for every answer that it had reported.

The images and the database are on a separate disk with an ext4 file system. At a random time after the first line of a scan
QEMU is killed, and only what the guest had flushed to that disk is kept: see logwrites.py. The machine boots from what is left;
ext4 recovers, the database must be intact and have every line that was read before any cut so far, and the next scan begins.
"""

import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TextIO

import msgspec
import numpy as np
from PIL import Image as Picture

from virtualpi import Failed, logwrites, qemu
from virtualpi.boot import VIRT, Data, Guest, Said, booted
from virtualpi.image import Image
from virtualpi.namespace import scratch_root
from virtualpi.outcome import progress

IMAGES = 1000  # of each scan: it takes over 10 s, and the cut comes in the first three
_LONGEST_S = 3.0
_DISK = "256M"


class Rows(msgspec.Struct):
    """What guest/rows.py prints."""

    integrity: str
    images: set[str]
    frames: dict[str, int]


class Cut(msgspec.Struct):
    """One cut, and what was found after it."""

    number: int
    after_s: float  # since the first line was read
    reported: int  # lines read before it
    kept: int  # writes that the disk held for certain
    dropped: int  # writes that were lost with its cache
    dropped_bytes: int
    lost: int = 0  # of all lines reported until now, those not in the database at the next boot
    whole: bool = False


class Kind(NamedTuple):
    """What the power cuts hit."""

    name: str
    limiar: str = "limiar"  # the module that scans: limiar or one of guest/
    mount: str = "defaults"  # options for mounting the disk


KEPT = Kind("power cuts")


class Series(msgspec.Struct):
    """All cuts of one kind."""

    kind: Kind
    cuts: list[Cut]
    end: dict[str, Said] = {}  # what the machine said that booted after the last cut

    @property
    def reported(self) -> int:
        return sum(cut.reported for cut in self.cuts)

    @property
    def lost(self) -> int:
        """The maximum: each boot is asked for all lines until then."""
        return max((cut.lost for cut in self.cuts), default=0)

    @property
    def corrupt(self) -> int:
        return sum(not cut.whole for cut in self.cuts)


def make_disk(folder: Path, scans: int) -> Path:
    """An ext4 file system with the images of each scan, all different."""
    rng = np.random.default_rng(0)
    for scan in range(scans):
        images = folder / "data" / "images" / str(scan)
        images.mkdir(parents=True)
        for index in range(IMAGES):
            pixels = rng.integers(0, 256, (50, 50), dtype=np.uint8)
            Picture.fromarray(pixels).save(images / f"{index:04d}.png", compress_level=1)
    with scratch_root(qemu.system_root(), binds={"/out": folder}) as root:
        # Initialized fully, so that the kernel does not do it later while it is mounted.
        ready = "lazy_itable_init=0,lazy_journal_init=0"
        root.run("mke2fs", "-q", "-t", "ext4", "-E", ready, "-d", "/out/data", "/out/data.disk", _DISK)
    shutil.rmtree(folder / "data")
    return folder / "data.disk"


def _scan_job(kind: Kind, number: int, last: bool) -> Mapping[str, str]:
    """The job of guest/jobs for a boot."""
    return {"job": "cut", "options": kind.mount} | ({} if last else {"scan": kind.limiar, "images": str(number)})


def cut_again_and_again(
    kind: Kind,
    cuts: int,
    seed: int,
    image: Image,
    disk: Path,
    log: TextIO,
    job: Callable[[Kind, int, bool], Mapping[str, str]] = _scan_job,
    limit_s: float = 400,
) -> Series:
    """Cuts the power `cuts` times; changes `disk`. Raises LogError, and Failed if a machine does not answer.

    job: what the machine does after so many cuts, and whether these were all; limit_s: for a boot.
    """
    series, rng = Series(kind, []), random.Random(seed)  # not a secret
    data = Data(disk.with_suffix(".running"), disk.with_suffix(".log"))
    reported: set[str] = set()
    for number in range(cuts + 1):
        progress(f"-M virt: {kind.name}: {number} of {cuts}")
        subprocess.run(["cp", "--sparse=always", disk, data.disk], check=True)
        data.log.write_bytes(b"")
        last = number == cuts
        with booted(VIRT, image, job(kind, number, last), log, data, limit_s) as guest:
            answers = guest.answers("@done" if last else "@scan")
            if series.cuts:
                _look(answers, series.cuts[-1], reported)
                log.write(f"\n==== {kind.name}: {msgspec.json.encode(series.cuts[-1]).decode()}\n")
            if last:
                series.end = dict(answers)
                break
            after_s = rng.uniform(0, _LONGEST_S)
            lines = _cut(guest, after_s)
        replayed = logwrites.replay(data.log, disk)
        reported |= lines
        series.cuts.append(Cut(number + 1, round(after_s, 3), len(lines), *replayed))
    return series


def _look(answers: Mapping[str, Said], cut: Cut, reported: set[str]) -> None:
    """Looks at the boot after a cut whether everything is there. Raises Failed if the disk is not as a cut leaves it."""
    if answers["cache"].out != "write back":  # otherwise Linux flushes nothing, and every write would be lost
        raise Failed(f"the guest sees a {answers['cache'].out} cache on its disk, not one that must be flushed (write back)")
    if cut.kept and "EXT4-fs (vdb): recovery complete" not in answers["kernel"].out:
        raise Failed(f"ext4 had nothing to recover after cut {cut.number}, so it was not a power cut")
    rows = msgspec.json.decode(answers["rows"].out, type=Rows)
    cut.lost = len(reported - rows.images)
    cut.whole = rows.integrity == "ok"


def _cut(guest: Guest, after_s: float) -> set[str]:
    """Kills the machine `after_s` seconds after a scan's first line. Returns the images whose lines were read before."""
    lines = [guest.next_line()]
    time.sleep(after_s)
    lines += guest.read_so_far()
    guest.cut()
    return {json.loads(line)["sha256"] for line in lines}
