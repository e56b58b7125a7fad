"""Files and folders that are replaced while other processes read them."""

import contextlib
import fcntl
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from limiar.edge_app.system import files
from limiar.edge_app.system.files import WholeFile, partial_folder, read_bounded, replace_folder, write_new, write_whole


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
        with pytest.raises(OSError, match="is not a plain file"):
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


@pytest.fixture(params=["without a name", "beside its place"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not finished has no name, or on a file system without O_TMPFILE one of its own."""
    if request.param == "beside its place":
        monkeypatch.setattr(files, "_unnamed", lambda folder, mode: None)


@pytest.mark.usefixtures("either_way")
def test_until_it_is_published_the_old_file_is_there_and_nothing_else_after(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    for given_up in (True, False):
        file = WholeFile(path)
        file.write(b"new")
        assert path.read_bytes() == b"old"
        file.discard() if given_up else file.publish()
        assert path.read_bytes() == (b"old" if given_up else b"new")
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("either_way")
def test_a_new_file_replaces_nothing_and_has_its_permissions_from_the_start(tmp_path: Path) -> None:
    write_new(tmp_path / "key", b"secret", 0o600)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "key", b"another", 0o600)
    assert (tmp_path / "key").read_bytes() == b"secret"
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]


def test_what_the_dead_have_left_is_removed_and_what_the_living_write_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_unnamed", lambda folder, mode: None)
    path, stranger = tmp_path / "out.csv", tmp_path / ".out.csv.mine.partial"
    (tmp_path / ".out.csv.4000000.partial").write_bytes(b"half")
    stranger.write_bytes(b"")
    living = WholeFile(path)
    monkeypatch.setattr(os, "getpid", lambda: 4000001)
    write_whole(path, b"whole")
    assert len(list(tmp_path.iterdir())) == 3
    living.publish()
    assert sorted(tmp_path.iterdir()) == [stranger, path]


def test_what_another_process_removes_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, removed = fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX and removed != (before := os.listdir(tmp_path)):
            removed.extend(before)
            files.remove_left_partials(tmp_path / "new")
        lock(descriptor, operation)

    monkeypatch.setattr(files, "_unnamed", lambda folder, mode: None)
    monkeypatch.setattr(fcntl, "flock", late)
    partial = f".new.{os.getpid()}.partial"
    write_whole(tmp_path / "new", b"1")
    assert ((tmp_path / "new").read_bytes(), removed) == (b"1", [partial])
    (tmp_path / "new").unlink()
    removed.clear()
    with partial_folder(tmp_path / "new") as made:
        assert (made.is_dir(), removed) == (True, [partial])


def test_a_process_that_is_killed_while_it_writes_leaves_nothing(tmp_path: Path) -> None:
    if (descriptor := files._unnamed(tmp_path, 0o600)) is None:
        pytest.skip("the file system of the temporary folder has no files without a name (O_TMPFILE)")
    os.close(descriptor)
    script = "import os, sys; from pathlib import Path; from limiar.edge_app.system.files import WholeFile; "
    script += "file = WholeFile(Path(sys.argv[1])); file.write(b'x' * 100_000); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-P", "-c", script, tmp_path / "out.csv"], timeout=60)
    assert done.returncode == -9
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_not_finished_is_gone_and_so_is_what_the_dead_have_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bundle"
    folder(tmp_path / ".bundle.4000000.partial", "half")
    with partial_folder(path) as living:
        monkeypatch.setattr(os, "getpid", lambda: 4000001)
        with contextlib.suppress(ZeroDivisionError), partial_folder(path) as failing:
            (failing / "content").write_text("half")
            raise ZeroDivisionError
        assert list(tmp_path.iterdir()) == [living]
        (living / "content").write_text("whole")
        replace_folder(living, path)
    assert list(tmp_path.iterdir()) == [path]
    assert (path / "content").read_text() == "whole"


def test_a_folder_that_replaces_a_file_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("old")
    with partial_folder(tmp_path / "b") as partial:
        (partial / "new").write_text("new")
        replace_folder(partial, tmp_path / "b")
    assert os.listdir(tmp_path) == ["b"]
    assert os.listdir(tmp_path / "b") == ["new"]


def test_a_folder_that_replaces_a_link_leaves_nothing_beside_it_and_the_link_s_folder_whole(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "old").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with partial_folder(tmp_path / "link") as partial:
        (partial / "new").write_text("new")
        replace_folder(partial, tmp_path / "link")
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]
    assert os.listdir(tmp_path / "link") == ["new"]
    assert os.listdir(tmp_path / "real") == ["old"]
