"""What a service deletes of the files that it moved: the oldest, nothing else, and never all because of a wrong clock."""

import os
import time
from pathlib import Path

import pytest

from limiar.edge_app.health.retention import Limits, at_once, remove_old

NOW = time.time()
DAY = 86_400.0


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """100 files of 1,000 bytes in done/, of which the one with the highest number is the newest."""
    (tmp_path / "done").mkdir()
    for number in range(100):
        written(tmp_path / "done" / f"{number:03d}.png", bytes(1000), number)
    return tmp_path


def written(path: Path, data: bytes, second: int) -> None:
    """A file that counts as moved there at that second. ctime cannot be set, but the later of it and mtime counts."""
    path.write_bytes(data)
    os.utime(path, (NOW + 3600 + second, NOW + 3600 + second))


def left(inbox: Path) -> list[str]:
    return sorted(path.relative_to(inbox / "done").as_posix() for path in (inbox / "done").rglob("*") if path.is_file())


@pytest.mark.parametrize("limits", [Limits(count=30), Limits(bytes=30_999), Limits(count=50, bytes=30_000)])
def test_the_oldest_go_until_the_rest_is_within_the_limits(inbox: Path, limits: Limits) -> None:
    removed = remove_old(str(inbox), "done", limits, None)
    assert (removed.files, removed.bytes, removed.more) == (70, 70_000, False)
    assert left(inbox) == [f"{number:03d}.png" for number in range(70, 100)]


def test_without_a_limit_nothing_goes(inbox: Path) -> None:
    assert remove_old(str(inbox), "done", Limits(), NOW + 9999 * DAY).files == 0


def test_within_the_limits_nothing_goes(inbox: Path) -> None:
    assert remove_old(str(inbox), "done", Limits(days=1, count=100, bytes=100_000), NOW).files == 0


def test_by_age_nothing_goes_while_the_clock_is_not_trusted(inbox: Path) -> None:
    assert remove_old(str(inbox), "done", Limits(days=1), None).files == 0


def test_a_clock_that_is_years_ahead_and_believed_takes_a_tenth_in_the_first_hour(inbox: Path) -> None:
    removed = remove_old(str(inbox), "done", Limits(days=30), NOW + 5 * 365 * DAY)
    assert removed.files == 10
    assert left(inbox)[0] == "010.png"


def test_by_age_three_times_as_many_may_go_as_come_of_age() -> None:
    assert at_once(72_000, days=30) == 300  # 100 come of age in an hour
    assert at_once(50, days=30) == 10
    assert at_once(50, days=0) == 0


def test_what_was_moved_while_the_clock_showed_1970_does_not_go_by_age(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limiar.edge_app.health.retention.NOT_BEFORE_S", NOW + DAY)  # in place of files from 1970
    assert remove_old(str(inbox), "done", Limits(days=30), NOW + 5 * 365 * DAY).files == 0


def test_links_hidden_files_and_folders_stay(inbox: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "a.png").write_bytes(b"precious")
    os.symlink(precious, inbox / "done" / "folder")
    os.symlink(precious / "a.png", inbox / "done" / "link.png")
    os.mkfifo(inbox / "done" / "fifo.png")
    (inbox / "done" / ".hidden").write_bytes(b"")
    (inbox / "done" / "deeper").mkdir()
    written(inbox / "done" / "deeper" / "b.png", b"newest", 100)
    remove_old(str(inbox), "done", Limits(count=1), None)
    assert left(inbox) == [".hidden", "deeper/b.png", "link.png"]
    assert (precious / "a.png").read_bytes() == b"precious"
    assert (inbox / "done" / "fifo.png").exists()


def test_a_link_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "a.png").write_bytes(b"precious")
    os.symlink(tmp_path / "precious", tmp_path / "done")
    with pytest.raises(OSError):  # noqa: PT011 ELOOP or ENOTDIR
        remove_old(str(tmp_path), "done", Limits(count=1, bytes=1), NOW)
    assert (tmp_path / "precious" / "a.png").exists()


def test_in_quarantine_a_file_goes_with_its_reason_and_without_one_stays(tmp_path: Path) -> None:
    (tmp_path / "quarantine").mkdir()
    for name in ("a.png", "a.png.json", "b.png", "b.png.json", "mine.png", "mine.json"):
        written(tmp_path / "quarantine" / name, b"x", ord(name[0]))
    removed = remove_old(str(tmp_path), "quarantine", Limits(count=1), None, reasons=True)
    assert (removed.files, removed.bytes) == (1, 2)
    assert sorted(path.name for path in (tmp_path / "quarantine").iterdir()) == ["b.png", "b.png.json", "mine.json", "mine.png"]


def test_a_folder_that_is_not_there_yet_is_no_error(tmp_path: Path) -> None:
    assert remove_old(str(tmp_path), "done", Limits(count=1), None).files == 0


def test_of_very_many_only_some_go_at_once(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limiar.edge_app.health.retention._AT_ONCE", 20)
    removed = remove_old(str(inbox), "done", Limits(count=50), None)
    assert (removed.files, removed.more) == (20, True)
    assert left(inbox)[0] == "020.png"
