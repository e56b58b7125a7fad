"""Files and folders that are replaced while somebody reads them."""

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from edge_app import files
from edge_app.files import read_bounded, replace_folder, write_whole


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


def test_a_file_is_read_within_its_bound_alone(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_bytes(b"12345678")
    assert read_bounded(path, 8) == b"12345678"
    with pytest.raises(OSError, match="the limit"):
        read_bounded(path, 7)


def test_a_link_is_followed_where_a_person_named_it_alone(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(b"1")
    (tmp_path / "link").symlink_to("table")
    assert read_bounded(tmp_path / "link", 8, follow=True) == b"1"
    with pytest.raises(OSError, match="a link"):
        read_bounded(tmp_path / "link", 8)


@pytest.mark.parametrize("follow", [False, True])
def test_what_is_no_plain_file_is_neither_waited_for_nor_read(tmp_path: Path, follow: bool) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    for path in (tmp_path / "fifo", tmp_path / "socket", tmp_path, Path("/dev/zero"), tmp_path / "nowhere", tmp_path / "a\0b"):
        with pytest.raises(OSError, match=r".") as refused:
            read_bounded(path, 1 << 20, follow)
        assert refused.value.strerror
