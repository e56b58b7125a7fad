"""Files and folders that are replaced while somebody reads them."""

import os
import stat
import threading
from pathlib import Path

import pytest

from edge_app import files
from edge_app.files import replace_folder, write_whole


def folder(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "content").write_text(content)
    return path


def test_a_folder_that_is_replaced_is_there_at_every_moment(tmp_path: Path) -> None:
    path = folder(tmp_path / "bundle", "0")
    done, missed = threading.Event(), []

    def look() -> None:
        while not done.is_set():
            if not path.exists():
                missed.append(path)

    reader = threading.Thread(target=look)
    reader.start()
    for count in range(1, 200):
        replace_folder(folder(tmp_path / "partial", str(count)), path)
    done.set()
    reader.join()
    assert missed == []
    assert (path / "content").read_text() == "199"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_system_that_cannot_exchange_gets_two_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    path = folder(tmp_path / "bundle", "old")
    replace_folder(folder(tmp_path / "partial", "new"), path)
    assert (path / "content").read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_where_nothing_is_there_yet_the_folder_is_just_named(tmp_path: Path) -> None:
    replace_folder(folder(tmp_path / "partial", "first"), tmp_path / "bundle")
    assert (tmp_path / "bundle" / "content").read_text() == "first"


def test_a_folder_that_cannot_be_replaced_is_an_error_and_stays(tmp_path: Path) -> None:
    path = folder(tmp_path / "bundle", "old")
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "nothing", path)
    assert (path / "content").read_text() == "old"


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"old", b"new"):
        write_whole(path, content)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_plain_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    fifo, link, target = tmp_path / "fifo", tmp_path / "link", tmp_path / "target"
    os.mkfifo(fifo)
    target.write_text("old")
    link.symlink_to(target)
    for path in (fifo, link, tmp_path):  # no device: where this fails, root would lose it
        with pytest.raises(OSError, match="no plain file"):
            write_whole(path, b"new")
    assert stat.S_ISFIFO(fifo.lstat().st_mode)
    assert link.is_symlink()
    assert target.read_text() == "old"
