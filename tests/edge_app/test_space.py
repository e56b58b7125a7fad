"""The disk: when new work is refused, when it goes on, and the ballast, which is really there."""

import os
import subprocess
from pathlib import Path

import pytest

from limiar.edge_app.errors import StoreError
from limiar.edge_app.health.space import Space

MB = 1 << 20
FULL = StoreError("E-STORE-FULL", "the disk is full")


class Now:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def now() -> Now:
    return Now()


def test_the_ballast_is_allocated_and_not_only_promised(tmp_path: Path) -> None:
    space = Space(tmp_path, free_bytes=1)
    assert not space.full
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= 4 * MB


def test_after_a_failed_write_it_is_full_at_once_and_the_ballast_is_free(tmp_path: Path, now: Now) -> None:
    space = Space(tmp_path, free_bytes=1, now=now)
    space.met(FULL)
    assert space.full
    assert (space.code, space.message) == ("E-STORE-FULL", "the disk is full")
    assert not (tmp_path / "ballast").exists()
    space.turn()
    assert space.full  # it looks every 5 s
    now.s += 5
    space.turn()
    assert not space.full
    assert (tmp_path / "ballast").stat().st_size == 4 * MB


def test_below_the_limit_it_is_full_and_a_little_above_it_still_is(
    tmp_path: Path, now: Now, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [1000 * MB]

    def statvfs(_path: object) -> os.statvfs_result:
        return os.statvfs_result((4096, 1, 10_000 * MB, free[0], free[0], 0, 0, 0, 0, 255))

    monkeypatch.setattr("os.statvfs", statvfs)
    space = Space(tmp_path, free_bytes=64 * MB, now=now)
    seen = []
    for free[0] in (100 * MB, 63 * MB, 65 * MB, 80 * MB, 85 * MB, 65 * MB, 63 * MB):
        now.s += 5
        space.turn()
        seen.append(space.full)
    assert seen == [False, True, True, True, False, False, True]


def test_how_long_it_has_been_full_is_said(tmp_path: Path, now: Now) -> None:
    space = Space(tmp_path, free_bytes=1, now=now)
    space.met(FULL)
    now.s += 3
    status = space.status()
    assert status
    assert (status.full, status.full_s, status.ballast_bytes) == (True, 3.0, 0)


def test_a_state_folder_that_is_gone_is_no_space(tmp_path: Path, now: Now) -> None:
    (tmp_path / "state").mkdir()
    space = Space(tmp_path / "state", free_bytes=1, ballast_bytes=4096, now=now)
    (tmp_path / "state" / "ballast").unlink()
    (tmp_path / "state").rmdir()
    now.s += 5
    space.turn()
    assert (space.full, space.code, space.status()) == (True, "E-STORE-WRITE", None)
    (tmp_path / "state").mkdir()
    now.s += 5
    space.turn()
    assert not space.full


def test_a_link_in_the_place_of_the_ballast_is_not_followed(tmp_path: Path, now: Now) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "ballast").symlink_to(tmp_path / "precious")
    space = Space(tmp_path, free_bytes=1, ballast_bytes=4096, now=now)
    space.met(FULL)
    assert (tmp_path / "precious").read_text() == "precious"


LIMITED = """
import sys
from pathlib import Path
from limiar.edge_app.health.space import Space
print(Space(Path(sys.argv[1]), free_bytes=1).message)
"""


def test_a_limit_that_no_free_byte_shows_is_met_by_the_ballast(tmp_path: Path) -> None:
    """As a quota does, which root does not have: here the size of a file."""
    import sys

    command = f"ulimit -f 100; exec {sys.executable} -P -c '{LIMITED}' {tmp_path}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "File too large" in done.stdout, done.stderr
