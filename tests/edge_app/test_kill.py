"""kill -9 at any time: what was reported is in the store, once, and the next scan continues."""

import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS, PARTS = 50, 5
CONTROL_KILLS = 12

REAL = "from limiar.edge_app.cli import main; main()"
# The control: the same app without the promise, its lines go out before the commit.
REPORTS_BEFORE_COMMIT = """
from limiar.edge_app.scan import scan
def report_first(self):
    for outcomes in self._pool.run(self._files, self._known):
        yield [self._kept(path, outcome, None) for path, outcome in outcomes]
        if self._store.commit_due():
            self._store.commit()
scan.Scan.groups = report_first
from limiar.edge_app.cli import main; main()
"""


def killed(script: str, bundle: Path, images: Path, db: Path, rng: random.Random) -> set[str]:
    """Scans, and is killed at a random place of its first quarter: the images that it reported.

    It cannot have come to its end: the lines of three quarters of the images are more than the pipe takes.
    """
    command = [sys.executable, "-P", "-c", script, "scan", str(bundle), str(images), "--db", str(db)]
    command += ["--workers", str(rng.choice((1, 2)))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as scan:
        assert scan.stdout
        text = b"".join(itertools.islice(scan.stdout, rng.randrange(1, 1000)))
        time.sleep(rng.uniform(0, 0.01))  # while it goes on
        assert scan.poll() is None
        os.kill(scan.pid, signal.SIGKILL)
        text += scan.stdout.read()
    whole = [line for line in text.splitlines(keepends=True) if line.endswith(b"\n")]
    return {json.loads(line)["sha256"] for line in whole}


def kept(db: Path) -> list[str]:
    connection = sqlite3.connect(db)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [sha256.hex() for (sha256,) in connection.execute("SELECT image_sha256 FROM results")]
    finally:
        connection.close()


@pytest.mark.parametrize("part", range(PARTS))
def test_no_reported_answer_is_lost_and_none_is_there_twice(
    tiny_path: Path, many_images: Path, tmp_path: Path, often: str, part: int
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    lost: list[str] = []
    for number in range(KILLS // PARTS):
        db = tmp_path / f"{number}.db"
        reported = killed(often + REAL, tiny_path, many_images, db, rng)
        rows = kept(db)
        assert len(set(rows)) == len(rows)
        lost += reported - set(rows)
    assert not lost


def test_a_scan_that_was_killed_again_and_again_ends_with_every_image_once(
    tiny_path: Path, many_images: Path, tmp_path: Path, often: str
) -> None:
    rng = random.Random(0)
    for _ in range(3):
        killed(often + REAL, tiny_path, many_images, tmp_path / "r.db", rng)
    command = [sys.executable, "-P", "-c", REAL, "scan", str(tiny_path), str(many_images), "--db", str(tmp_path / "r.db")]
    done = subprocess.run(command, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4_000
    assert len(kept(tmp_path / "r.db")) == 4_000


def test_the_harness_sees_answers_that_were_reported_before_their_commit(
    tiny_path: Path, many_images: Path, tmp_path: Path, often: str
) -> None:
    rng = random.Random(0)
    lost = 0
    for number in range(CONTROL_KILLS):
        db = tmp_path / f"{number}.db"
        reported = killed(often + REPORTS_BEFORE_COMMIT, tiny_path, many_images, db, rng)
        lost += len(reported - set(kept(db) if db.exists() else []))
    assert lost > 0
