#!/usr/bin/env python3
"""Takes the disk away from a running `limiar run`, gives it back, and looks for every answer: full, read-only, I/O errors.

    sudo tests/harness/full_disk.py [--cases 40] [--seed N] [--control lose|stay] [--results FILE]

The state folder is a small tmpfs in a mount namespace of its own. Every other case fills it in steps while images arrive; in
the others strace has the system refuse what the main process writes to the database (EIO, ENOSPC, EDQUOT, EROFS), as a broken
card, a quota and a disk that went read-only do. In each case the service must say so, go on by itself at most 30 s after the
disk is back, without a restart, and answer what arrived meanwhile; in the end every image that was moved to done/ must have
exactly one answer in a whole database. Two controls must fail: `lose` moves files before their answers are committed, `stay`
never looks at the disk again.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from limiar.edge_app.control import AskStatus, ask
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.health.status import Status, failed
from running import REAL
from service_kills import MOVED_FIRST
from services import Service

STATE_MB = 24
RESUMES_S = 30.0
SAYS_S = 20.0
IMAGES = 4  # that arrive in each part of a case

NEVER = """
from limiar.edge_app.health import space
turn = space.Space.turn
space.Space.turn = lambda self: None if self.full else turn(self)
"""
CONTROLS = {"": "", "lose": MOVED_FIRST, "stay": NEVER}
WRITES, FLUSHES = "pwrite64,write,fallocate", "fsync,fdatasync"
ERRORS = (("EIO", WRITES), ("EIO", FLUSHES), ("ENOSPC", WRITES), ("EDQUOT", WRITES), ("EROFS", f"{WRITES},{FLUSHES}"))


class Series(msgspec.Struct):
    """What was found."""

    kind: str
    seed: int
    cases: int = 0
    moved: int = 0  # images in done/
    lost: int = 0  # of these, without an answer in the database
    twice: int = 0  # answers too many
    corrupt: int = 0
    unsaid: int = 0  # cases in which the service did not say that something is wrong
    late: int = 0  # cases in which it did not go on in time
    restarts: int = 0  # of the main process
    slowest_s: float = 0.0  # from the disk's return until all that had arrived was answered


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, default=Path(__file__).resolve().parents[2] / "models" / "lung-nodule")
    options.add_argument("--cases", type=int, default=40)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options.add_argument("--control", choices=("lose", "stay"), default="", help="must fail")
    options.add_argument("--results", type=Path, help="append a JSON line")
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if not asked.inside:
        words = ["unshare", "--mount", "--propagation", "private", sys.executable, __file__, "--inside", *sys.argv[1:]]
        return subprocess.run([*words, "--seed", str(asked.seed)], check=False).returncode
    with tempfile.TemporaryDirectory() as folder:
        series = taken_away(Path(folder), asked)
    print(msgspec.json.encode(series).decode())
    if asked.results:
        with asked.results.open("ab") as file:
            file.write(msgspec.json.encode(series) + b"\n")
    wrong = series.lost + series.twice + series.corrupt + series.unsaid + series.late + series.restarts
    print("PASS" if wrong == 0 and series.moved else "FAIL")
    return 0 if wrong == 0 and series.moved else 3


def taken_away(folder: Path, asked: argparse.Namespace) -> Series:
    rng, series = random.Random(asked.seed), Series(asked.control or "kept", asked.seed)
    script = CONTROLS[asked.control] + REAL
    service = Service(folder, asked.bundle.resolve(), more="[health]\nfree_megabytes = 1\n", script=script)
    service.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STATE_MB}m", "none", service.state], check=True)
    with service:
        for case in range(asked.cases):
            arrive(service, f"{case:03d}-before")
            if not answered(service, RESUMES_S):
                series.late += 1
                print(service.log.read_text()[-4000:], file=sys.stderr)
                break
            fault = filled(service, rng) if case % 2 == 0 else refused(service, *ERRORS[case // 2 % len(ERRORS)])
            with fault:
                arrive(service, f"{case:03d}-during")
                series.unsaid += not said(service)
            back = time.monotonic()
            arrive(service, f"{case:03d}-after")
            series.late += not answered(service, RESUMES_S)
            series.slowest_s = max(series.slowest_s, round(time.monotonic() - back, 1))
            series.cases += 1
            assert service.process
            series.restarts += service.process.poll() is not None
        service.kill()
        judge(service, series)
    subprocess.run(["umount", "--lazy", service.state], check=True)
    return series


def arrive(service: Service, name: str) -> None:
    for number in range(IMAGES):
        service.put(f"{name}-{number}.pgm", b"P5 50 50 255\n" + os.urandom(2500))


def answered(service: Service, seconds: float) -> bool:
    """Whether everything is moved within that time."""
    until = time.monotonic() + seconds
    while service.waiting():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def said(service: Service) -> bool:
    """Whether the service says that something has failed."""
    until = time.monotonic() + SAYS_S
    while time.monotonic() < until:
        with contextlib.suppress(LimiarError):
            answer = ask(service.state, AskStatus())
            if answer and failed(msgspec.json.decode(answer, type=Status)):
                return True
        time.sleep(0.1)
    return False


@contextlib.contextmanager
def filled(service: Service, rng: random.Random) -> Iterator[None]:
    """Fills the disk in steps of any size, while images arrive, and empties it again."""
    filler = service.state / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            arrive(service, f"filling-{rng.randrange(1 << 40):010x}")
            for _ in range(4):
                written = file.write(bytes(rng.randrange(1, 2 << 20)))
                if not written:
                    break
            time.sleep(rng.uniform(0, 0.1))
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def refused(service: Service, error: str, calls: str) -> Iterator[None]:
    """Has the system refuse what the main process writes."""
    names = ("results.db", "results.db-wal", "results.db-journal", "ballast")
    places = [word for name in names for word in ("-P", str(service.state / name))]
    words = ["strace", "-qq", "-o", "/dev/null", "-p", str(service.pid), "-e", f"trace={calls}", *places]
    with subprocess.Popen([*words, "-e", f"inject={calls}:error={error}"], stderr=subprocess.DEVNULL) as strace:
        status = Path(f"/proc/{service.pid}/status")
        service.wait(lambda: f"TracerPid:\t{strace.pid}\n" in status.read_text())
        try:
            yield
        finally:
            strace.send_signal(signal.SIGINT)


def judge(service: Service, series: Series) -> None:
    moved = service.done()
    with contextlib.closing(sqlite3.connect(service.db)) as db:
        series.corrupt += db.execute("PRAGMA integrity_check").fetchone() != ("ok",)
        kept = [Path(os.fsdecode(path)).name for (path,) in db.execute("SELECT path FROM results")]
    series.moved = len(moved)
    series.lost = len(set(moved) - set(kept))
    series.twice = len(kept) - len(set(kept))


if __name__ == "__main__":
    sys.exit(main())
