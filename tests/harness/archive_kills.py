#!/usr/bin/env python3
"""Kills the workers and the driver of `limiar archive run --workers` again and again, and looks for every answer.

    tests/harness/archive_kills.py [--images 100000] [--poison 20] [--kills 10] [--workers 2] [--seed N] [--control]

First without faults, in one run on this machine: `limiar scan --workers` and the archive over the same images; the archive must
have at least 0.7 of its rate, and merged, the very rows that the scan printed. Then the same images with poison among them
(tests/writers/poison.py): so many workers, and so many drivers, are killed with SIGKILL, spread over the work. In the end every
good image must have its row once, each poison image its code, the second run must do nothing, and nothing may be left
running or in the scratch folder. --control writes answers under their name from the start, as if a file did not appear whole:
it must lose.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.append(str(Path(__file__).resolve().parents[1] / "writers"))

from limiar.edge_app.archive.columns import COLUMNS, Row, read_rows, record_batch
from limiar.edge_app.archive.plan import Archive, open_archive
from limiar.edge_app.archive.status import archive_status
from poison import KINDS, poison_name, poisoned  # type: ignore[import-not-found]  # only tests have its folder on their path

PROJECT = Path(__file__).resolve().parents[2]
BUNDLE = PROJECT / "models" / "lung-nodule"
RATIO = 0.7  # of the rate of a plain scan, at least
MEASURED = ("decode_ms", "resize_ms", "infer_ms")  # what no two runs share
CODES = {"crash": "E-IMAGE-CRASH", "memory": "E-IMAGE-CRASH", "hang": "E-IMAGE-TIMEOUT"}
END_S = 60.0  # in which everything must end once its driver is killed
STALL_S = 300.0  # without another chunk done

# Python imports a module of this name when it starts. The scans get poison once they have their limiar, which
# edge_app/system/python.py finds; in the control all workers write in place.
STARTED = """
import os, sys
words = open("/proc/self/cmdline", "rb").read()
class Poison:
    def find_spec(self, name, path, target=None):
        if name == "limiar.__main__":
            sys.meta_path.remove(self)
            exec(open(os.environ["HARNESS_POISON"]).read(), {})
if b"\\0scan\\0" in words:
    sys.meta_path.insert(0, Poison())
elif os.environ.get("HARNESS_CONTROL") and b"forkserver" in words:
    import limiar.edge_app.archive.columns
    class InPlace:
        def __init__(self, path):
            self._file = open(path, "wb", buffering=0)
        def write(self, data):
            self._file.write(data)
        def publish(self):
            self._file.close()
        def discard(self):
            self._file.close()
    limiar.edge_app.archive.columns.WholeFile = InPlace
"""


class Found(msgspec.Struct):
    """What was found."""

    images: int
    poison: int
    workers: int
    control: bool
    scan_s: float = 0.0
    archive_s: float = 0.0
    ratio: float = 0.0  # of rates: archive to plain scan
    equal: bool = False  # merged without faults, row for row
    chunks: int = 0
    killed_workers: int = 0
    killed_drivers: int = 0
    kills_s: float = 0.0
    lost: int = 0  # images without a row
    double: int = 0  # rows too many
    differ: int = 0  # rows of good images that differ from the scan's
    poison_by_code: int = 0
    damaged: int = 0  # chunks that are done, and cannot be read
    left_running: int = 0
    left_in_scratch: int = 0
    second_run_s: float = 0.0
    second_run_wrote: int = 0

    def passed(self) -> bool:
        """Whether nothing is wrong; the ratio is judged by whoever has the machine to themselves."""
        wrong = (self.lost, self.double, self.differ, self.damaged, self.left_running, self.left_in_scratch)
        return self.equal and not any(wrong) and not self.second_run_wrote and self.poison_by_code == self.poison


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=100_000, help="good ones (default: %(default)s)")
    options.add_argument("--poison", type=int, default=20)
    options.add_argument("--kills", type=int, default=10, help="of workers, and as many of drivers")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--chunk-images", type=int, default=12_500, help="without faults (default: %(default)s)")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--control", action="store_true", help="answers are written in place: must lose")
    options.add_argument("--results", type=Path, help="write what was found there, as JSON")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="limiar-archive-kills-") as folder:
        found = campaign(Path(folder), asked)
    print(msgspec.json.format(msgspec.json.encode(found)).decode())
    if asked.results:
        asked.results.write_bytes(msgspec.json.encode(found))
    if asked.control:
        print("the control lost, as it must" if not found.passed() else "the control did not lose: this campaign sees nothing")
        return int(found.passed())
    slow = found.ratio < RATIO
    print(f"{'FAILED' if not found.passed() else 'passed'}{f', but below {RATIO} of a plain scan' if slow else ''}")
    return int(not found.passed() or slow)


def campaign(folder: Path, asked: argparse.Namespace) -> Found:
    found = Found(asked.images, asked.poison, asked.workers, asked.control)
    say(f"drawing {asked.images + asked.poison} images")
    draw(folder / "images", asked.images, asked.poison, asked.seed)
    scanned = without_faults(folder, asked, found)
    with_kills(folder, asked, found, scanned)
    return found


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def draw(folder: Path, good: int, poison: int, seed: int) -> None:
    """Small grey PNGs, all different, 1,000 a folder; the poison is spread among them."""
    rng = np.random.default_rng(seed)
    shade = np.linspace(20, 180, 50).astype(np.uint8)
    for number in range(good):
        below = folder / f"{number // 1000:04d}"
        if number % 1000 == 0:
            below.mkdir(parents=True)
        cv2.imwrite(str(below / f"{number:07d}.png"), rng.integers(0, 60, (50, 50), np.uint8) + shade)
    folders = sorted(folder.iterdir())
    for number in range(poison):
        grey = rng.integers(0, 60, (50, 50), np.uint8) + shade
        cv2.imwrite(str(folders[number * len(folders) // max(poison, 1)] / poison_name(number)), grey)


def limiar(folder: Path, *words: object) -> list[str]:
    return [sys.executable, "-P", "-m", "limiar", *map(str, words)]


def timed(folder: Path, *words: object) -> float:
    """Runs limiar; returns the seconds that it took. Raises CalledProcessError."""
    started = time.monotonic()
    subprocess.run(limiar(folder, *words), env=environment(folder), check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "LIMIAR_STATE": str(folder / "state"), "TMPDIR": str(folder), **more}


def without_faults(folder: Path, asked: argparse.Namespace, found: Found) -> pa.Table:
    """The plain scan and the archive, in turn; returns the scan's rows."""
    say("a plain scan")
    words = ("--workers", asked.workers, "--db", folder / "plain.db", "--jsonl", folder / "lines", "--quiet")
    found.scan_s = timed(folder, "scan", BUNDLE, folder / "images", *words)
    timed(
        folder, "archive", "plan", folder / "calm", "--bundle", BUNDLE, folder / "images", "--chunk-images", asked.chunk_images
    )
    say("the archive without faults")
    found.archive_s = timed(folder, "archive", "run", folder / "calm", "--workers", asked.workers)
    found.ratio = found.scan_s / found.archive_s
    say(f"scan {found.scan_s:.1f} s, archive {found.archive_s:.1f} s: {found.ratio:.2f}")
    timed(folder, "archive", "merge", folder / "calm", "--out", folder / "calm.parquet")
    scanned = scanned_rows(folder / "lines", open_archive(folder / "calm").plan.labels)
    found.equal = comparable(pq.read_table(folder / "calm.parquet")).equals(scanned)
    return scanned


def scanned_rows(lines: Path, labels: tuple[str, ...]) -> pa.Table:
    """What a scan printed, as columns that can be compared."""
    decoder = msgspec.json.Decoder(Row)
    with open(lines, "rb") as file:
        batches = [record_batch([decoder.decode(line) for line in some], labels, 0, 0) for some in by(10_000, file)]
    return comparable(pa.Table.from_batches(batches, COLUMNS))


def by(count: int, lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    some: list[bytes] = []
    for line in lines:
        some.append(line)
        if len(some) == count:
            yield some
            some = []
    yield some


def comparable(rows: pa.Table) -> pa.Table:
    """Without what differs from run to run."""
    return rows.drop_columns(["chunk", "row", *MEASURED]).replace_schema_metadata(None)


def with_kills(folder: Path, asked: argparse.Namespace, found: Found, scanned: pa.Table) -> None:
    """The same images with poison among them, under fire."""
    (folder / "python").mkdir()
    (folder / "python" / "sitecustomize.py").write_text(STARTED)
    (folder / "poison.py").write_text(poisoned(folder / "marks"))
    more = {"PYTHONPATH": str(folder / "python"), "HARNESS_POISON": str(folder / "poison.py"), "OPENBLAS_NUM_THREADS": "1"}
    env = environment(folder, **more, **({"HARNESS_CONTROL": "1"} if asked.control else {}))
    size = max(1, asked.images // (10 * max(asked.kills, 1)))  # five chunks from kill to kill
    timed(folder, "archive", "plan", folder / "work", "--bundle", BUNDLE, folder / "images", "--chunk-images", size)
    archive = open_archive(folder / "work")
    found.chunks = archive.plan.chunks
    scratch = folder / "scratch"
    scratch.mkdir()
    command = limiar(folder, "archive", "run", archive.out, "--workers", asked.workers, "--scratch", scratch)
    started = time.monotonic()
    with open(folder / "said", "wb") as said:
        under_fire(archive, lambda: subprocess.Popen(command, env=env, stderr=said), asked, found)
    found.kills_s = time.monotonic() - started
    say(f"{found.killed_workers} workers and {found.killed_drivers} drivers killed; {found.kills_s:.0f} s")
    judge(archive, found, scanned)
    before = {path.name: path.stat().st_mtime_ns for path in (archive.out / "done").iterdir()}
    started = time.monotonic()
    subprocess.run(command, env=env, stderr=subprocess.DEVNULL)
    found.second_run_s = time.monotonic() - started
    after = {path.name: path.stat().st_mtime_ns for path in (archive.out / "done").iterdir()}
    found.second_run_wrote = sum(before.get(name) != when for name, when in after.items())
    found.left_running += len(running(folder))  # and what outlived a killed driver
    found.left_in_scratch = len(list(scratch.iterdir()))


def under_fire(
    archive: Archive, start: Callable[[], "subprocess.Popen[bytes]"], asked: argparse.Namespace, found: Found
) -> None:
    """Runs the archive to its end, and kills workers and drivers in turn, each when so many chunks are done."""
    rng = random.Random(asked.seed)
    kills = ["worker", "driver"] * asked.kills
    at = [archive.plan.chunks * (number + 1) // (len(kills) + 2) for number in range(len(kills))]  # chunks done
    driver = start()
    last, moved = -1, time.monotonic()
    while True:
        done = sum(1 for _ in (archive.out / "done").iterdir())
        if done != last:
            last, moved = done, time.monotonic()
        if time.monotonic() - moved > STALL_S:
            driver.kill()
            raise TimeoutError(f"no chunk was done in {STALL_S:.0f} s: {done} of {archive.plan.chunks}")
        if kills and done >= at[-len(kills)] and driver.poll() is None:
            time.sleep(rng.uniform(0.0, 0.3))
            if kills[0] == "worker" and kill_worker(driver.pid, rng):
                found.killed_workers += 1
                kills.pop(0)
            elif kills[0] == "driver":
                kill_driver(driver, archive.out.parent, found)
                kills.pop(0)
        if driver.poll() is not None:
            if driver.returncode >= 0 and not kills:
                return
            driver = start()
        time.sleep(0.05)


def kill_worker(driver: int, rng: random.Random) -> bool:
    """Kills a process of Dask's that has a scan at work; returns whether there was one."""
    table = processes()
    workers = sorted({parent for parent, words in table.values() if b"\0scan\0" in words and descends(parent, driver, table)})
    if workers:
        os.kill(rng.choice(workers), signal.SIGKILL)
    return bool(workers)


def kill_driver(driver: "subprocess.Popen[bytes]", folder: Path, found: Found) -> None:
    """Kills the driver; everything that it started must end by itself."""
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    found.killed_drivers += 1
    until = time.monotonic() + END_S
    while (left := running(folder)) and time.monotonic() < until:
        time.sleep(0.05)
    if left:
        say(f"left running: {left}")
    found.left_running += len(left)
    for process in left:
        os.kill(process, signal.SIGKILL)


def processes() -> dict[int, tuple[int, bytes]]:
    """Process id -> that of its parent, and its command line."""
    found = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                parent = int((path / "stat").read_bytes().rpartition(b")")[2].split()[1])
                found[int(path.name)] = parent, (path / "cmdline").read_bytes()
            except OSError:
                continue
    return found


def descends(process: int, ancestor: int, table: dict[int, tuple[int, bytes]]) -> bool:
    while process in table and process != ancestor:
        process = table[process][0]
    return process == ancestor


def running(folder: Path) -> list[int]:
    """The processes of this campaign but this one, by their environment."""
    mark = os.fsencode(f"LIMIAR_STATE={folder / 'state'}")
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal() and int(path.name) != os.getpid():
            try:
                if mark in (path / "environ").read_bytes():
                    found.append(int(path.name))
            except OSError:
                continue
    return found


def judge(archive: Archive, found: Found, scanned: pa.Table) -> None:
    """Looks for the row of each image."""
    found.damaged = archive_status(archive).damaged
    tables = []
    for chunk in archive.chunks():
        try:
            tables.append(pa.Table.from_batches(read_rows(archive.done_path(chunk)), COLUMNS))
        except Exception as error:  # the control's files may be anything
            say(f"chunk {chunk.number}: {error}")
    rows = comparable(pa.concat_tables(tables)) if tables else scanned.slice(0, 0)
    counts = Counter(rows["path"].to_pylist())
    paths = scanned["path"].to_pylist()
    found.lost = sum(path not in counts for path in paths)
    found.double = sum(counts.values()) - len(counts)
    codes = dict(zip(rows["path"].to_pylist(), rows["code"].to_pylist(), strict=True))
    poison = {
        path: CODES[os.path.basename(path).split("-")[1]] for path in paths if os.path.basename(path).startswith("poison-")
    }
    found.poison_by_code = sum(codes.get(path) == code for path, code in poison.items())
    assert set(CODES) == set(KINDS)
    good = {path: number for number, path in enumerate(paths) if path not in poison}
    if not found.lost and not found.double:
        mine = rows.filter(pa.array([path in good for path in rows["path"].to_pylist()]))
        theirs = scanned.filter(pa.array([path in good for path in paths]))
        if not mine.equals(theirs):
            found.differ = sum(a != b for a, b in zip(mine.to_pylist(), theirs.to_pylist(), strict=True))


if __name__ == "__main__":
    sys.exit(main())
