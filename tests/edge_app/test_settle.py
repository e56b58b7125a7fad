"""Answered files are moved into done/, refused ones into quarantine/: whole, replacing nothing, and only what was answered."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from limiar.edge_app.errors import SourceError
from limiar.edge_app.intake import settle
from limiar.edge_app.intake.look import Seen
from limiar.edge_app.intake.messages import Quarantined, WatchedFolder
from limiar.edge_app.intake.settle import Settling
from privileges import need_root
from services import Service, noise

REASON = Quarantined(
    code="E-IMAGE-TRUNCATED",
    message="ends too early: copy or record it again",
    source="inbox",
    sha256="ab" * 32,
    tries=1,
    time="2026-01-01T00:00:00.000Z",
    bundle="cd" * 32,
    app="limiar 0.1.0",
)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


def put(inbox: Path, name: str | bytes, content: bytes = b"picture") -> bytes:
    path = os.path.join(os.fsencode(inbox), os.fsencode(name))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    return path


def identity(path: bytes) -> bytes:
    return Seen.of(os.lstat(path), has_inodes=True).identity


def settling(inbox: Path) -> Settling:
    return Settling(WatchedFolder("inbox", os.fsencode(inbox), done="done", quarantine="quarantine"))


def done(inbox: Path, path: bytes, of: bytes | None = None) -> bytes | None:
    with settling(inbox) as moves:
        return moves.done(path, of or identity(path)).to


def quarantined(inbox: Path, path: bytes) -> bytes | None:
    with settling(inbox) as moves:
        return moves.quarantined(path, identity(path), REASON).to


def files(inbox: Path) -> dict[str, bytes]:
    return {str(path.relative_to(inbox)): path.read_bytes() for path in sorted(inbox.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", ["a.png", "sub/deep/a.png", b"line\nbyte\xff.png", "no-extension", ".-2.png"])
def test_a_file_keeps_its_path_below_the_folder(inbox: Path, name: str | bytes) -> None:
    path = put(inbox, name)
    assert done(inbox, path) == os.path.join(os.fsencode(inbox), b"done", os.fsencode(name))
    assert list(files(inbox)) == [f"done/{os.fsdecode(name)}"]


def test_a_twin_gets_a_number_and_later_ones_a_random_name_and_nothing_is_replaced(inbox: Path) -> None:
    for number in range(15):
        assert done(inbox, put(inbox, "a.tar.png", b"%d" % number))
    found = files(inbox)
    assert sorted(found.values(), key=int) == [b"%d" % number for number in range(15)]
    assert {f"done/a.tar{mark}.png" for mark in ("", "-2", "-3", "-9")} < set(found)


def test_without_renames_that_replace_nothing_twins_are_found_by_looking(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "_RENAME_NOREPLACE", 1 << 20)  # a flag that the kernel does not know, as NFS does not know ours
    for number in range(3):
        assert done(inbox, put(inbox, "a.png", b"%d" % number))
    assert files(inbox) == {"done/a.png": b"0", "done/a-2.png": b"1", "done/a-3.png": b"2"}


def test_a_refused_file_lies_beside_its_reason(inbox: Path) -> None:
    path = put(inbox, "sub/cut.png")
    assert quarantined(inbox, path) == os.fsencode(inbox / "quarantine/sub/cut.png")
    assert list(files(inbox)) == ["quarantine/sub/cut.png", "quarantine/sub/cut.png.json"]
    reason = json.loads((inbox / "quarantine/sub/cut.png.json").read_text())
    assert reason == {
        "code": "E-IMAGE-TRUNCATED",
        "message": "ends too early: copy or record it again",
        "source": "inbox",
        "sha256": "ab" * 32,
        "tries": 1,
        "time": "2026-01-01T00:00:00.000Z",
        "bundle": "cd" * 32,
        "app": "limiar 0.1.0",
        "path": os.fsdecode(path),
    }


def test_the_reason_of_a_name_that_is_not_utf_8_has_its_bytes(inbox: Path) -> None:
    path = put(inbox, b"\xff\x1b[31m.png")
    assert quarantined(inbox, path)
    text = next((inbox / "quarantine").glob("*.json")).read_bytes()
    assert b"\x1b" not in text
    assert json.loads(text)["path"].endswith("\\xff\x1b[31m.png")
    assert "path_base64" in json.loads(text)


def test_twins_in_quarantine_each_have_their_reason(inbox: Path) -> None:
    for number in range(12):
        assert quarantined(inbox, put(inbox, "a.png", b"%d" % number))
    names = set(files(inbox))
    assert len(names) == 24
    assert {name.removesuffix(".json") for name in names if name.endswith(".json")} == {
        name for name in names if not name.endswith(".json")
    }


def test_a_json_that_somebody_put_into_quarantine_stays(inbox: Path) -> None:
    put(inbox, "quarantine/a.png.json", b'{"mine": true}')
    assert quarantined(inbox, put(inbox, "a.png"))
    assert (inbox / "quarantine/a.png.json").read_bytes() == b'{"mine": true}'
    assert (inbox / "quarantine/a-2.png").exists()
    assert json.loads((inbox / "quarantine/a-2.png.json").read_text())["code"] == "E-IMAGE-TRUNCATED"


def test_after_a_crash_between_the_reason_and_the_move_there_is_one_reason(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(inbox, "a.png")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(settle, "_rename", crash)
        with pytest.raises(KeyboardInterrupt):
            quarantined(inbox, path)
    assert list(files(inbox)) == ["a.png", "quarantine/a.png.json"]  # the reason is written before the file is moved
    assert quarantined(inbox, path)
    assert list(files(inbox)) == ["quarantine/a.png", "quarantine/a.png.json"]


@pytest.mark.parametrize("length", [255, 251, 250, 240, 101, 100])
def test_a_long_name_is_shortened_where_it_must_be_and_twins_fit(inbox: Path, length: int) -> None:
    name = "n" * (length - 4) + ".png"
    for number in range(3):
        assert done(inbox, put(inbox, name, b"done %d" % number))
        assert quarantined(inbox, put(inbox, name, b"bad %d" % number))
    found = files(inbox)
    assert sum(content.startswith(b"done") for content in found.values()) == 3
    assert sum(content.startswith(b"bad") for content in found.values()) == 3
    assert f"done/{name}" in found
    assert sum(name.endswith(".png.json") for name in found) == 3


def test_a_name_whose_extension_is_all_of_it_is_shortened_too(inbox: Path) -> None:
    name = "x." + "e" * 253
    for _ in range(2):
        assert done(inbox, put(inbox, name))
        assert quarantined(inbox, put(inbox, name))
    assert len(files(inbox)) == 6


@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.unlink(path),
        lambda path: Path(os.fsdecode(path)).write_bytes(b"picture, more of it"),
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: (os.unlink(path), os.symlink("/etc/hostname", path)),
        lambda path: (os.link(path, path + b".old"), os.unlink(path), Path(os.fsdecode(path)).write_bytes(b"picture")),
    ],
    ids=["gone", "grown", "touched", "a link", "replaced"],
)
@pytest.mark.parametrize("way", ["done", "quarantined"])
def test_a_file_that_is_not_the_answered_one_any_more_stays(inbox: Path, change: Callable[[bytes], object], way: str) -> None:
    path = put(inbox, "a.png")
    of = identity(path)
    change(path)
    before = files(inbox)
    with settling(inbox) as moves:
        moved = moves.done(path, of) if way == "done" else moves.quarantined(path, of, REASON)
    assert moved.to is None
    assert files(inbox) == before


def test_a_file_that_is_replaced_in_the_moment_of_the_move_is_brought_back(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(inbox, "a.png")
    of = identity(path)
    real = settle._rename

    def late(*words: object) -> None:
        monkeypatch.setattr(settle, "_rename", real)
        put(inbox, "b.png", b"another picture")
        os.rename(inbox / "b.png", path)
        real(*words)

    monkeypatch.setattr(settle, "_rename", late)
    with settling(inbox) as moves:
        assert moves.done(path, of).to is None
    assert files(inbox) == {"a.png": b"another picture"}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    return tmp_path / "outside"


@pytest.mark.parametrize("what", ["done", "done/sub"])
@pytest.mark.parametrize("by", ["link", "file"])
def test_nothing_is_moved_through_a_link_or_a_file_in_place_of_done(inbox: Path, outside: Path, what: str, by: str) -> None:
    (inbox / what).parent.mkdir(exist_ok=True)
    (inbox / what).symlink_to(outside) if by == "link" else (inbox / what).write_bytes(b"")
    path = put(inbox, "sub/a.png")
    with pytest.raises(SourceError, match="E-WATCH-LINK"):
        done(inbox, path)
    assert os.path.exists(path)
    assert not list(outside.iterdir())


def test_nothing_is_moved_out_of_a_folder_that_a_link_replaced(inbox: Path, outside: Path) -> None:
    path = put(inbox, "sub/a.png")
    os.rename(inbox / "sub", outside / "sub")
    (inbox / "sub").symlink_to(outside / "sub")
    assert done(inbox, path) is None  # the very same file, but not in the watched folder any more
    assert (outside / "sub/a.png").exists()


def test_a_hard_link_is_moved_and_the_other_name_stays(inbox: Path, outside: Path) -> None:
    path = put(inbox, "a.png")
    os.link(path, outside / "other.png")
    assert done(inbox, path)
    assert (outside / "other.png").read_bytes() == b"picture"


def test_a_link_a_fifo_and_a_folder_are_quarantined_as_they_are(inbox: Path, outside: Path) -> None:
    (inbox / "link.png").symlink_to(outside)
    os.mkfifo(inbox / "fifo.png")
    put(inbox, "folder.png/inside.png")
    for name in ("link.png", "fifo.png", "folder.png"):
        assert quarantined(inbox, os.fsencode(inbox / name))
    where = inbox / "quarantine"
    assert os.readlink(where / "link.png") == str(outside)
    assert (where / "fifo.png").is_fifo()
    assert (where / "folder.png/inside.png").exists()
    assert len(list(where.glob("*.json"))) == 3


def test_many_moves_take_one_fsync_for_each_folder(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    paths = [put(inbox, f"{number}.png") for number in range(100)]
    with settling(inbox) as moves:
        for path in paths:
            moves.done(path, identity(path))
        assert synced == []
    assert sorted(synced) == sorted([str(inbox), str(inbox / "done")])


def test_moves_in_more_folders_than_may_be_open_work(inbox: Path) -> None:
    paths = [put(inbox, f"{number}/a.png") for number in range(200)]
    before = len(os.listdir("/proc/self/fd"))
    with settling(inbox) as moves:
        for path in paths:
            assert moves.done(path, identity(path)).to
        assert len(os.listdir("/proc/self/fd")) < before + 100
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(files(inbox)) == 200


# In a mount namespace of its own: what is mounted there ends with it.
MOUNTED = """
import subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
sys.path[:0] = [sys.argv[1] + "/../writers", sys.argv[1] + "/../harness"]
from test_settle import done, files, put, quarantined, SourceError
inbox = Path(sys.argv[2])
path = put(inbox, "a.png")
for command in sys.argv[3:]:
    subprocess.run(command, shell=True, check=True)
for way in (done, quarantined):
    try:
        print(way(inbox, path))
    except SourceError as error:
        print(error.code, error.message)
print(*files(inbox))
"""


def mounted(inbox: Path, *commands: str) -> list[str]:
    need_root("unshare", "mount")
    words = [sys.executable, "-P", "-c", MOUNTED, str(Path(__file__).parent), str(inbox), *commands]
    ran = subprocess.run(["unshare", "-m", "--propagation", "private", *words], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_in_a_folder_that_is_read_only_files_stay(inbox: Path) -> None:
    first, second, left = mounted(inbox, f"mount --bind {inbox} {inbox}", f"mount -o remount,ro,bind {inbox}")
    assert first.startswith("E-WATCH-MOVE ")
    assert "Read-only file system" in first
    assert "Read-only file system" in second
    assert left == "a.png"


def test_onto_another_file_system_nothing_is_moved(inbox: Path) -> None:
    for name in ("done", "quarantine"):
        (inbox / name).mkdir()
    mounts = [f"mount -t tmpfs none {inbox}/{name}" for name in ("done", "quarantine")]
    first, second, left = mounted(inbox, *mounts)
    assert first.startswith("E-WATCH-MOVE ")
    assert second.startswith("E-WATCH-MOVE ")
    assert left == "a.png"  # and no NAME.json of a file that is not there


def test_on_a_full_file_system_files_stay(inbox: Path) -> None:
    fill = f"dd if=/dev/zero of={inbox}/full bs=4k 2>/dev/null; true"
    mount = f"mount -t tmpfs -o size=64k,nr_inodes=6 none {inbox}"
    prepare = f"echo picture > {inbox}/a.png; touch {inbox}/b {inbox}/c {inbox}/d"
    first, second, left = mounted(inbox, mount, prepare, fill)
    assert first.startswith("E-WATCH-MOVE ")
    assert "No space left" in first
    assert "No space left" in second
    assert left.split()[0] == "a.png"


def test_files_of_a_folder_that_is_gone_are_gone(inbox: Path) -> None:
    path = put(inbox, "sub/a.png")
    of = identity(path)
    for each in sorted(inbox.rglob("*"), reverse=True):
        each.unlink() if each.is_file() else each.rmdir()
    inbox.rmdir()
    assert done(inbox, path, of) is None


TRACED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
sys.path[:0] = [sys.argv[1] + "/../writers", sys.argv[1] + "/../harness"]
from test_settle import put, quarantined
quarantined(Path(sys.argv[2]), put(Path(sys.argv[2]), "a.png"))
"""


def test_the_reason_is_on_the_disk_before_the_file_moves_and_the_folders_after(inbox: Path, tmp_path: Path) -> None:
    need_root("strace")
    words = ["strace", "-y", "-f", "-qq", "-o", str(tmp_path / "log"), "-e", "trace=fsync,renameat2,rename,linkat"]
    subprocess.run([*words, sys.executable, "-P", "-c", TRACED, str(Path(__file__).parent), str(inbox)], check=True, timeout=60)
    calls = [line.split(None, 1)[1] for line in (tmp_path / "log").read_text().splitlines() if str(inbox) in line]
    order = [line.split("(")[0] for line in calls]
    moved = next(number for number, line in enumerate(calls) if line.startswith("renameat2"))
    assert order[:moved].count("fsync") == 2, calls  # of the reason, then of its folder
    assert order[moved + 1 :] == ["fsync", "fsync"], calls  # of both folders


def test_after_a_crash_between_the_commit_and_the_move_the_file_is_moved_at_the_next_start(
    tmp_path: Path, tiny_path: Path
) -> None:
    service = Service(tmp_path / "device", tiny_path)
    (service.inbox / "done").write_bytes(b"")  # in the way: nothing can be moved
    with service:
        service.put("a.png", noise(1)[0])
        service.wait(lambda: service.rows("SELECT count(*) FROM results") == [(1,)])
        service.wait(lambda: "E-WATCH-LINK" in service.log.read_text())
        service.kill()
        (service.inbox / "done").unlink()
        service.start()
        service.wait(lambda: service.done() == {"a.png": noise(1)[0]})
        assert service.rows("SELECT count(*) FROM results") == [(1,)]
