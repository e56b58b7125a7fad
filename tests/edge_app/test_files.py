"""Folders that are replaced while somebody reads them."""

import threading
from pathlib import Path

import pytest

from edge_app import files
from edge_app.files import replace_folder


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
