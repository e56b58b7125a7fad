#!/usr/bin/env python3
"""Has `limiar run` answer images as fast as it can, for as many as a device gets in a day: does it grow, and how fast is it?

    tests/harness/soak.py BUNDLE IMAGES [--scans 5000] [--idle 30] [--control]

Copies of IMAGES, each with other bytes, are renamed into a watched folder; answered ones are deleted. While it answers, the
processes' memory, descriptors and threads are read from /proc; then it is left idle, once with 10,000 old files in done/, and
then it gets a file now and then. 20,000 scans come first, which fill the caches. A release runs it with --scans 86400: a scan a
second for a day.
--control: the same with a service that leaks memory and descriptors; the first part must find both.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import contextlib
import hashlib
import itertools
import os
import statistics
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from running import REAL
from services import Service

LEAKS = """
import os
from limiar.edge_app.service import folders
keep, leaked = folders.Folders.keep, []
def leaking(self, path, outcome):
    leaked.append(bytearray(500))
    if len(leaked) % 500 == 0:
        os.open("/dev/null", os.O_RDONLY)
    return keep(self, path, outcome)
folders.Folders.keep = leaking
"""

AHEAD = 1000  # files that wait: enough that no process waits for this one
WARM = 20_000  # scans before memory is compared: the caches of SQLite and of the allocators are full then
OLD_FILES = 10_000  # in done/, while it is idle
FILES = 50  # whose delay is measured, for each way to put a file there
SLOPE_MB = 1.0  # limits: for 10,000 scans
SLOPE_OPEN = 1.0  # descriptors, and threads
WAL_BYTES = 8e6
IDLE_PSS_BYTES = 90e6
IDLE_CORE = 0.02
DELAY_S = 3.0
_HZ = os.sysconf("SC_CLK_TCK")


class Sample(NamedTuple):
    """The processes of a service at one moment."""

    answers: int
    memory: dict[str, int]  # bytes in memory by process: "main", "intake", "worker", "keeping"
    descriptors: int
    threads: int
    wal_bytes: int

    @property
    def whole(self) -> int:
        return sum(self.memory.values())


def tree(pid: int) -> Iterator[tuple[str, Path]]:
    """A process and those below it, with what each does."""
    there = Path(f"/proc/{pid}")
    yield "main", there
    for child in (there / "task" / str(pid) / "children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            yield _role(Path(f"/proc/{child}")), Path(f"/proc/{child}")


def _role(process: Path) -> str:
    if "numpy" in (process / "maps").read_text():
        return "worker"
    for link in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if os.readlink(link) == "anon_inode:inotify":
                return "intake"
    return "keeping"  # deletes what is old


def field(process: Path, file: str, name: str) -> int:
    """A number that /proc gives a name."""
    return next(int(line.split()[1]) for line in (process / file).read_text().splitlines() if line.startswith(f"{name}:"))


def sample(service: Service, answers: int) -> Sample:
    processes = list(tree(service.pid))
    wal = service.db.with_name(f"{service.db.name}-wal")
    return Sample(
        answers,
        {name: 1024 * field(process, "status", "VmRSS") for name, process in processes},
        sum(len(list((process / "fd").iterdir())) for _, process in processes),
        sum(field(process, "status", "Threads") for _, process in processes),
        wal.stat().st_size,
    )


def cpu_s(pid: int) -> float:
    """Processor time of a process and those below it."""
    stats = ((process / "stat").read_text().rpartition(")")[2].split() for _, process in tree(pid))
    return sum(int(words[11]) + int(words[12]) for words in stats) / _HZ


def written(service: Service) -> int:
    """Bytes that its processes had written to the disk."""
    return sum(field(process, "io", "write_bytes") for _, process in tree(service.pid))


def copies(images: list[bytes]) -> Iterator[bytes]:
    """PNGs that never end, no two of the same bytes: each has a comment of its own before its last chunk."""
    for number, image in enumerate(itertools.cycle(images)):
        body = b"tEXtComment\0%d" % number
        yield image[:-12] + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + image[-12:]


def feed(service: Service, new: Iterator[bytes], scans: int) -> list[Sample]:
    """Until so many more answers are kept; a sample for each hundredth of them."""
    samples: list[Sample] = []
    fed, first = 0, kept(service)
    while not samples or samples[-1].answers < first + scans:
        answers = kept(service)
        for data in itertools.islice(new, max(0, min(scans, answers - first + AHEAD) - fed)):
            service.put(f"{fed:06d}.png", data)
            fed += 1
        for path in (service.inbox / "done").glob("*.png"):
            path.unlink()
        if not samples or answers >= min(samples[-1].answers + scans / 100, first + scans):
            samples.append(sample(service, answers))
        service.wait(lambda: True)  # it still runs
        time.sleep(0.05)
    return samples


def kept(service: Service) -> int:
    """Answers so far."""
    return int(str(next(iter(service.rows("SELECT count(*) FROM results")), (0,))[0]))


def slope(samples: list[Sample], of: Callable[[Sample], float]) -> float:
    """How much something grows in 10,000 scans: the median slope between two samples (Theil and Sen), so that one step of an
    allocator, or a file that is open at that moment, is not taken for growth.
    """
    least = (samples[-1].answers - samples[0].answers) / 5
    pairs = [(a, b) for a, b in itertools.combinations(samples, 2) if b.answers - a.answers > least]
    return statistics.median((of(b) - of(a)) / (b.answers - a.answers) for a, b in pairs) * 10_000


def idle(service: Service, seconds: float) -> tuple[float, float]:
    """Proportional memory in bytes, and the share of a core, over so many seconds."""
    time.sleep(3.0)  # the last look at what it was given
    before_s, began_s = cpu_s(service.pid), time.monotonic()
    time.sleep(seconds)
    share = (cpu_s(service.pid) - before_s) / (time.monotonic() - began_s)
    return sum(1024 * field(process, "smaps_rollup", "Pss") for _, process in tree(service.pid)), share


def delays_s(service: Service, new: Iterator[bytes], way: str) -> list[float]:
    """From when each file is complete to when its answer is on the disk."""
    found: list[float] = []
    waiting: dict[bytes, float] = {}  # sha256 -> when it was complete
    put, next_s = 0, time.monotonic()
    while len(found) < FILES:
        if put < FILES and time.monotonic() >= next_s:
            data, name = next(new), f"{way}_{put:03d}.png"
            if way == "renamed":
                service.put(name, data)
            else:
                (service.inbox / name).write_bytes(data)
            waiting[hashlib.sha256(data).digest()] = time.monotonic()
            put, next_s = put + 1, next_s + 0.37  # so files meet every phase of what it does in turns
        answered = [sha256 for sha256 in waiting if service.rows("SELECT 1 FROM results WHERE image_sha256 = ?", sha256)]
        found += [time.monotonic() - waiting.pop(sha256) for sha256 in answered]
        service.wait(lambda: True)  # it still runs
        time.sleep(0.01)
    return found


class Table:
    """Prints each figure beside its limit, and keeps which are beyond it."""

    def __init__(self) -> None:
        self.beyond: list[str] = []

    def row(self, what: str, figure: float, unit: str, limit: float | None = None) -> None:
        over = limit is not None and figure > limit
        self.beyond += [what] * over
        allowed = "" if limit is None else f"at most {limit:g}{'  BEYOND' if over else ''}"
        print(f"{what:44} {figure:10.3f} {unit:18} {allowed}".rstrip(), flush=True)


def soak(service: Service, new: Iterator[bytes], scans: int, table: Table) -> None:
    """The first part: at full speed."""
    feed(service, new, WARM)
    began_s, wrote = time.monotonic(), written(service)
    samples = feed(service, new, scans)
    seconds = time.monotonic() - began_s
    table.row("answers", samples[-1].answers, "")
    table.row("rate", scans / seconds, "a second")
    table.row("memory grows", slope(samples, lambda one: one.whole / 1e6), "MB in 10,000", SLOPE_MB)
    for name in samples[-1].memory:
        table.row(f"  {name}", slope(samples, lambda one, name=name: one.memory.get(name, 0) / 1e6), "MB in 10,000")  # type: ignore[misc]
    for name, used in samples[-1].memory.items():
        table.row(f"  {name} has at the end", used / 1e6, "MB")
    table.row("descriptors grow", slope(samples, lambda one: one.descriptors), "in 10,000", SLOPE_OPEN)
    table.row("threads grow", slope(samples, lambda one: one.threads), "in 10,000", SLOPE_OPEN)
    table.row("write-ahead log, largest", max(one.wal_bytes for one in samples) / 1e6, "MB", WAL_BYTES / 1e6)
    table.row("written to the disk", (written(service) - wrote) / scans, "kB for 1,000")


def rest(service: Service, new: Iterator[bytes], seconds: float, table: Table) -> None:
    """The other parts: idle, and a file now and then."""
    for old in (0, OLD_FILES):
        for number in range(old):
            (service.inbox / "done" / f"old_{number:05d}.png").write_bytes(b"old")
        pss, share = idle(service, seconds)
        about = f", {old:,} old files in done/" if old else ""
        table.row(f"idle{about}", pss / 1e6, "MB", IDLE_PSS_BYTES / 1e6)
        table.row(f"idle{about}", 100 * share, "% of a core", 100 * IDLE_CORE)
    for way in ("renamed", "in place"):
        found = sorted(delays_s(service, new, way))
        table.row(f"answered, {way}: 95 of 100 within", found[int(0.95 * len(found))], "s", DELAY_S)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("bundle", type=Path)
    options.add_argument("images", type=Path)
    options.add_argument("--scans", type=int, default=5000)
    options.add_argument("--idle", type=float, default=30.0, help="seconds")
    options.add_argument("--control", action="store_true")
    asked = options.parse_args()
    new = copies([path.read_bytes() for path in sorted(asked.images.rglob("*.png"))])
    table = Table()
    with tempfile.TemporaryDirectory() as folder:
        script = (LEAKS if asked.control else "") + REAL
        with Service(Path(folder), asked.bundle.resolve(), script=script) as service:
            service.wait(service.db.exists)
            soak(service, new, asked.scans, table)
            if asked.control:
                return 0 if {"memory grows", "descriptors grow"} <= {*table.beyond} else 1
            rest(service, new, asked.idle, table)
            status = service.end()
    print(f"beyond their limits: {', '.join(table.beyond)}" if table.beyond else "nothing is beyond its limit")
    return 1 if table.beyond or status else 0


if __name__ == "__main__":
    sys.exit(main())
