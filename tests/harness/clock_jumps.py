#!/usr/bin/env python3
"""Sets the clock of a running `limiar run` wrong, again and again: order, answers and the trust in the clock must not suffer.

    sudo tests/harness/clock_jumps.py [--cases 60] [--seed N] [--results FILE]

libfaketime (Debian: faketime) shows the service another wall clock and leaves the monotonic ones alone, as a board without a
battery, a time server or a hand on `date` does: 1970, five years ahead, an hour back, a minute ahead, right again. Some jumps
come while the service runs, others while it does not. A file in place of the board's own clock either agrees or does not.
After each jump a new image and a copy of an earlier one arrive. In the end every image must have one answer, in the order of
arrival by sequence number; each jump must be in the audit log; and the clock must have been trusted exactly where its year was
possible and the board's own clock agreed. Two controls must fail: the order by time, and trust in whatever year is possible.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import contextlib
import itertools
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from limiar.edge_app.control import AskStatus, ask
from limiar.edge_app.health.status import Status
from limiar.edge_app.system.clock import NOT_BEFORE_S

PROJECT = Path(__file__).resolve().parents[2]
YEAR_S = 365 * 86_400
EVERY = 10  # so many cases with one start of the service
WAIT_S = 60.0
# libfaketime 0.9.10 also shifts the end of a sleep by the monotonic clock, as Python's is: some then last for years.
SLEEPS = (
    "import select, time; time.sleep = lambda s: select.select([], [], [], s)\nfrom limiar.edge_app.cli import main; main()"
)
RTC = Path("/sys/class/rtc/rtc0/since_epoch")


class Series(msgspec.Struct):
    """What was found."""

    seed: int
    cases: int = 0
    wrong_order: int = 0  # neighbours by sequence number that did not arrive in that order
    answered_again: int = 0  # images with more than one answer, or none
    not_audited: int = 0  # jumps of the running service without a row
    wrong_trust: int = 0
    control_order: int = 0  # neighbours by time that did not arrive in that order
    control_trust: int = 0  # cases that a possible year alone judges wrongly


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, default=PROJECT / "models" / "lung-nodule")
    options.add_argument("--cases", type=int, default=60)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options.add_argument("--results", type=Path, help="append a JSON line")
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if not asked.inside:
        words = ["unshare", "--mount", "--propagation", "private", sys.executable, __file__, "--inside", *sys.argv[1:]]
        return subprocess.run([*words, "--seed", str(asked.seed)], check=False).returncode
    with tempfile.TemporaryDirectory() as folder:
        series = jumped(Path(folder), asked.bundle.resolve(), asked.cases, asked.seed)
    print(msgspec.json.encode(series).decode())
    if asked.results:
        with asked.results.open("ab") as file:
            file.write(msgspec.json.encode(series) + b"\n")
    wrong = series.wrong_order + series.answered_again + series.not_audited + series.wrong_trust
    passed = wrong == 0 and series.control_order > 0 and series.control_trust > 0
    print("PASS" if passed else "FAIL")
    return 0 if passed else 3


class Device:
    """A folder with a service's inbox and state, and the clock that it sees."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder = folder
        self.inbox, self.state, self.offset = folder / "inbox", folder / "state", folder / "offset"
        self.inbox.mkdir()
        (folder / "limiar.toml").write_text(
            f'[answer]\nbundle = "{bundle}"\n[health]\nfree_megabytes = 1\n[[folder]]\npath = "inbox"\n'
        )
        subprocess.run(["mount", "-t", "tmpfs", "none", "/sys/class"], check=True)  # in the private mount namespace
        RTC.parent.mkdir(parents=True)

    def set(self, offset_s: float, agrees: bool) -> bool:
        """Sets the clock, and the board's own; returns whether it must be trusted."""
        now_s = time.time() + offset_s
        RTC.write_text(f"{int(now_s if agrees else now_s - 7200)}\n")
        partial = self.folder / "offset.partial"
        partial.write_text(f"{offset_s:+.3f}\n")
        partial.replace(self.offset)
        return agrees and now_s > NOT_BEFORE_S

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
        faked = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",  # a clock that is set changes no file's time
        }
        command = [sys.executable, "-P", "-c", SLEEPS, "run", str(self.folder / "limiar.toml")]
        environment = {**os.environ, **faked, "LIMIAR_STATE": str(self.state)}
        log = (self.folder / "log").open("ab")
        with subprocess.Popen(command, env=environment, stderr=log, cwd=PROJECT, start_new_session=True) as service:
            try:
                self.wait("it starts", lambda: self.asked().bundle is not None)
                yield
                service.send_signal(signal.SIGTERM)
                service.wait(20)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(service.pid, signal.SIGKILL)

    def asked(self) -> Status:
        said = ask(self.state, AskStatus()) if self.state.exists() else None
        clock = {"trusted": False, "why": ""}
        return (
            msgspec.json.decode(said, type=Status)
            if said
            else msgspec.convert({"running": False, "app": "", "clock": clock}, Status)
        )

    def arrive(self, image: Path, name: str) -> None:
        """Puts an image into the inbox in one step, and waits until it was answered and moved."""
        partial = self.inbox / f".{name}.partial"
        shutil.copy(image, partial)
        partial.rename(self.inbox / name)
        self.wait(f"{name} is answered", (self.inbox / "done" / name).exists)

    def wait(self, what: str, so: object) -> None:
        until = time.monotonic() + WAIT_S
        while not so():  # type: ignore[operator]
            if time.monotonic() > until:
                sys.exit(f"clock_jumps: waited {WAIT_S:.0f} s until {what}\n{(self.folder / 'log').read_text()[-3000:]}")
            time.sleep(0.02)


def jumped(folder: Path, bundle: Path, cases: int, seed: int) -> Series:
    rng, series = random.Random(seed), Series(seed)
    device = Device(folder, bundle)
    images = written(folder / "images", cases)
    live = 0
    offset_s = 0.0
    for first in range(0, cases, EVERY):
        offset_s = chosen(rng, offset_s)
        trusted = device.set(offset_s, rng.random() < 0.5)
        with device.running():
            for case in range(first, min(first + EVERY, cases)):
                jumps = device.asked().clock.jumps
                if case > first:
                    offset_s = chosen(rng, offset_s)
                    trusted = device.set(offset_s, rng.random() < 0.5)
                    live += 1
                    device.wait("the jump is noticed", lambda jumps=jumps: device.asked().clock.jumps == jumps + 1)
                found = device.asked().clock
                series.cases += 1
                series.wrong_trust += found.trusted != trusted
                series.control_trust += (time.time() + offset_s > NOT_BEFORE_S) != trusted
                device.arrive(images[case], images[case].name)
                device.arrive(images[rng.randrange(case + 1)], f"again-{case:05d}.png")
    judge(device.state / "results.db", [image.stem for image in images], live, series)
    return series


def judge(database: Path, names: list[str], live: int, series: Series) -> None:
    with contextlib.closing(sqlite3.connect(database)) as db:
        rows = db.execute(
            "SELECT path, time FROM results JOIN entries ON row = sequence AND kind = 'file' ORDER BY id"
        ).fetchall()
        (audited,) = db.execute("SELECT count(*) FROM audit WHERE kind = 'clock'").fetchone()
    arrived = [Path(os.fsdecode(path)).stem for path, _ in rows]
    by_time = [Path(os.fsdecode(path)).stem for path, _ in sorted(rows, key=lambda row: str(row[1]))]
    series.wrong_order = out_of_order(arrived)
    series.control_order = out_of_order(by_time)
    series.answered_again = len(set(names) ^ set(arrived)) + len(arrived) - len(set(arrived))
    series.not_audited = abs(live - audited)


def out_of_order(names: list[str]) -> int:
    return sum(before > after for before, after in itertools.pairwise(names))


def chosen(rng: random.Random, before_s: float) -> float:
    """Seconds by which the clock is wrong, at least 2 s from the one before."""
    while True:
        offset_s = rng.choice(
            [100 - time.time(), 5.0 * YEAR_S, -3.0 * YEAR_S, before_s - 3600, before_s + 60, before_s - 3, 0.0, 20.0 * YEAR_S]
        )
        if abs(offset_s - before_s) > 2 and -time.time() < offset_s < 100 * YEAR_S:
            return offset_s


def written(folder: Path, count: int) -> list[Path]:
    """Images, all different, in the order of their names."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    paths = [folder / f"{index:05d}.png" for index in range(count)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (50, 50), dtype=np.uint8)).save(path)
    return paths


if __name__ == "__main__":
    sys.exit(main())
