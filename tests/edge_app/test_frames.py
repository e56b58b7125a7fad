"""Retention of kept frames."""

import os
from pathlib import Path

import pytest

from limiar.edge_app.service.frames import FrameLimits, Pruned, prune

NOW_S = 1_800_000_000.0


def frame(folder: Path, number: int, age_s: float, camera: str = "door", size: int = 100) -> Path:
    path = folder / camera / f"20270115T080000000Z-{number:06}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (NOW_S - age_s,) * 2)
    return path


@pytest.mark.parametrize("limits", [FrameLimits(count=2), FrameLimits(size=250), FrameLimits(days=2.5)], ids=str)
def test_the_oldest_frames_of_all_cameras_are_removed(tmp_path: Path, limits: FrameLimits) -> None:
    frames = [frame(tmp_path, number, age_s=number * 86_400.0, camera=f"camera-{number % 2}") for number in range(1, 5)]
    assert prune(tmp_path, limits, NOW_S) == Pruned(2, 200)
    assert [path.exists() for path in frames] == [True, True, False, False]


def test_without_limits_all_frames_stay(tmp_path: Path) -> None:
    path = frame(tmp_path, 1, age_s=1e9)
    assert prune(tmp_path, FrameLimits(), NOW_S) == Pruned()
    assert path.exists()


def test_with_a_clock_that_is_not_trusted_no_frame_is_removed_for_its_age(tmp_path: Path) -> None:
    path = frame(tmp_path, 1, age_s=1e9)
    assert prune(tmp_path, FrameLimits(days=1), None) == Pruned()
    assert path.exists()


def test_frames_of_one_time_are_removed_by_number(tmp_path: Path) -> None:
    frames = [frame(tmp_path, number, age_s=0) for number in range(4)]
    prune(tmp_path, FrameLimits(count=1), NOW_S)
    assert [path.exists() for path in frames] == [False, False, False, True]


def test_nothing_but_frames_is_removed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"x")
    folder = tmp_path / "frames"
    old = frame(folder, 1, age_s=1e9)
    partial = old.with_name(f".{old.name}.17.partial")  # of a killed process
    partial.write_bytes(b"half")
    os.utime(partial, (0, 0))
    others = [folder / "door" / name for name in ("notes.txt", "20270115T080000000Z-000002.png.bak", "20270115T080000000Z.png")]
    for other in [*others, folder / "20270115T080000000Z-000003.png"]:
        other.write_bytes(b"x")
        os.utime(other, (0, 0))
    (folder / "door" / "20270115T080000000Z-000004.png").symlink_to(outside)
    (folder / "door" / "20270115T080000000Z-000005.png").mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    elsewhere = frame(tmp_path, 6, age_s=1e9, camera="elsewhere")
    assert prune(folder, FrameLimits(days=1), NOW_S) == Pruned(2, 104)
    assert not old.exists()
    assert not partial.exists()
    assert all(path.exists() for path in (*others, outside, elsewhere))
    assert (folder / "door" / "20270115T080000000Z-000004.png").is_symlink()
