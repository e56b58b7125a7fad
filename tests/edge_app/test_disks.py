"""The store on disks that lack something: each has its true reason and its cure, or another journal with the same promise.

Shared memory and locks are taken away by strace, which makes the kernel refuse the very calls; full disks are real ones.
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import limiar.edge_app.store.database
from limiar.edge_app.store.database import Database

WRITE = """
import sys
sys.path.insert(0, sys.argv[1])
import test_database as here
from limiar.edge_app.errors import StoreError
try:
    with here.Store(here.Path(sys.argv[2])) as store:
        store.use(here.KEY, "bundle")
        for number in map(int, sys.argv[4:]):
            store.add(here.image(number), b"x" * int(sys.argv[3]), here.answer())
            store.commit()
            print(number, flush=True)
        print(*store._db.execute("PRAGMA journal_mode")[0], *store._db.execute("PRAGMA synchronous")[0])
except StoreError as error:
    print(error)
"""
WAL, ROLLBACK = "wal 2", "delete 3"  # journal_mode and synchronous: FULL, EXTRA


def written(path: Path, *numbers: int, before: tuple[str, ...] = (), size: int = 1) -> list[str]:
    """Stores answers in a process of its own: what it reported, then how, or why not."""
    words = [sys.executable, "-P", "-c", WRITE, str(Path(__file__).parent), str(path), str(size), *map(str, numbers)]
    done = subprocess.run([*before, *words], capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.splitlines()


def stored(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(db.execute("SELECT count(*) FROM results").fetchone()[0])


def need(program: str, root: bool = False) -> None:
    if not shutil.which(program) or (root and os.geteuid()):
        if os.environ.get("LIMIAR_REQUIRE_ROOT_TESTS") == "1":
            pytest.fail(f"LIMIAR_REQUIRE_ROOT_TESTS=1, but {program} cannot be used here")
        pytest.skip(f"needs {program}{' and root' if root else ''}")


def refusing(call: str, error: str, *paths: Path) -> tuple[str, ...]:
    """strace, which has the kernel refuse a system call on these files."""
    need("strace")
    places = [word for path in paths for word in ("-P", str(path))]
    return ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", *places, "-e", f"inject={call}:error={error}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.db"


@pytest.mark.parametrize("error", ["ENODEV", "EINVAL", "EACCES"])
def test_without_shared_memory_a_rollback_journal_keeps_the_promise(path: Path, error: str) -> None:
    no_shared_memory = refusing("mmap", error, path.with_name("r.db-shm"))
    assert written(path, 1, before=no_shared_memory) == ["1", ROLLBACK]
    assert written(path, 2, before=no_shared_memory) == ["2", ROLLBACK]
    assert written(path, 3) == ["3", WAL]
    assert written(path, 4, before=no_shared_memory) == ["4", ROLLBACK]
    assert stored(path) == 4
    assert [file.name for file in path.parent.iterdir()] == ["r.db"]


def test_a_log_that_a_killed_scan_left_is_read_also_without_shared_memory(path: Path) -> None:
    killed = WRITE.replace("print(*store", "__import__('os')._exit(9); print(*store")
    words = [sys.executable, "-P", "-c", killed, str(Path(__file__).parent), str(path), "1", *map(str, range(10))]
    assert subprocess.run(words, capture_output=True).returncode == 9
    assert path.with_name("r.db-wal").stat().st_size > 0
    path.with_name("r.db-shm").unlink()
    assert written(path, 10, before=refusing("mmap", "ENODEV", path.with_name("r.db-shm"))) == ["10", ROLLBACK]
    assert stored(path) == 11


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_a_share_gets_a_rollback_journal_at_once(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiar.edge_app.store.database, "_file_system", lambda _: kind)
    with contextlib.closing(Database(path)) as database:
        assert not database.write_ahead
        assert database.execute("PRAGMA journal_mode") == [("delete",)]


@pytest.mark.parametrize("error", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def test_a_disk_without_locks_is_refused_for_that(path: Path, error: str) -> None:
    (line,) = written(path, 1, before=refusing("fcntl", error, path))
    assert line.startswith("E-STORE-LOCKS: ")
    assert "mount the share with locks" in line


FULL = """
mount -t tmpfs -o size=1m none "$1" || exit 99
shift
"$@" 1 2 3
head -c 2000000 /dev/zero > "$FOLDER/filler" 2>/dev/null
"$@" 4
rm "$FOLDER/filler"
"$@" 5
"""


def test_a_disk_that_is_full_at_the_second_start_says_so_and_loses_nothing(tmp_path: Path) -> None:
    need("unshare", root=True)
    folder = tmp_path / "disk"
    folder.mkdir()
    words = [sys.executable, "-P", "-c", WRITE, str(Path(__file__).parent), str(folder / "r.db"), "1"]
    command = ["unshare", "--mount", "--propagation", "private", "bash", "-c", FULL, "-", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "FOLDER": str(folder)})
    lines = done.stdout.splitlines()
    assert [*lines[:4], *lines[5:]] == ["1", "2", "3", WAL, "5", WAL], done.stderr
    assert lines[4].startswith("E-STORE-FULL: ")


@pytest.mark.parametrize("journal", ["wal", "rollback"])
def test_a_disk_that_fills_up_ends_the_reports_and_loses_nothing(tmp_path: Path, journal: str) -> None:
    need("unshare", root=True)
    folder = tmp_path / "disk"
    folder.mkdir()
    script = (
        WRITE if journal == "wal" else f"import limiar.edge_app.store.database as d\nd._file_system = lambda _: 'nfs'\n{WRITE}"
    )
    check = (
        "import sqlite3, sys; print('kept', sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM results').fetchone()[0])"
    )
    mount = 'mount -t tmpfs -o size=1m none "$1" || exit 99'
    mounted = f'{mount}; python=$2; check=$3; db=$1/r.db; shift 3; "$@"; "$python" -c "$check" "$db"'
    words = [sys.executable, "-P", "-c", script, str(Path(__file__).parent), str(folder / "r.db"), "5000"]
    command = ["unshare", "--mount", "--propagation", "private", "bash", "-c", mounted, "-", str(folder), sys.executable, check]
    done = subprocess.run([*command, *words, *map(str, range(1000))], capture_output=True, text=True, timeout=120)
    *reported, refusal, kept = done.stdout.splitlines()
    assert len(reported) > 10
    assert refusal.startswith("E-STORE-FULL: "), done.stderr
    assert int(kept.split()[1]) >= len(reported)


# In a mount namespace of its own: a file of the database, or its folder, appears in a second place as in a container.
MOUNTED = """
mkdir "$1/b"
if [ "$2" = folder ]; then mount --bind "$1/a" "$1/b" || exit 99; else
    touch "$1/b/r.db"
    mount --bind "$1/a/r.db" "$1/b/r.db" || exit 99
fi
place=$1; held=$3; shift 3
if [ "$held" = held ]; then coproc "$@" "$place/a/r.db" 1 held; read -r line <&"${COPROC[0]}"; fi
"$@" "$place/b/r.db" 1 7
"""


def in_two_places(tmp_path: Path, what: str, held: str) -> list[str]:
    need("unshare", root=True)
    (tmp_path / "a").mkdir()
    assert written(tmp_path / "a" / "r.db", 1) == ["1", WAL]
    script = WRITE.replace("sys.argv[4:]", "[] if sys.argv[4] == 'held' else sys.argv[4:]")
    script = script.replace(
        "print(*store", "sys.argv[4] == 'held' and (print(flush=True), __import__('time').sleep(30)); print(*store"
    )
    words = [sys.executable, "-P", "-c", script, str(Path(__file__).parent)]
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "bash", "-c", MOUNTED, "-"]
    done = subprocess.run([*command, str(tmp_path), what, held, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode != 99, done.stderr
    return done.stdout.splitlines()


def test_a_database_that_is_mounted_as_a_single_file_is_refused(tmp_path: Path) -> None:
    (line,) = in_two_places(tmp_path, "file", "free")
    assert line.startswith("E-STORE-NAMES: ")
    assert line.endswith("mount its folder instead")


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_database_that_is_mounted_elsewhere_too_has_one_writer(tmp_path: Path, what: str) -> None:
    (line,) = in_two_places(tmp_path, what, "held")
    assert line.startswith("E-STORE-BUSY: ")


def test_a_folder_that_is_mounted_elsewhere_has_the_same_journal(tmp_path: Path) -> None:
    assert in_two_places(tmp_path, "folder", "free") == ["7", WAL]
    assert stored(tmp_path / "a" / "r.db") == 2


@pytest.mark.parametrize("error", ["EROFS", "EACCES", "EIO"])
def test_a_disk_that_refuses_says_with_which_reason(path: Path, error: str) -> None:
    written(path, 1)
    (line,) = written(path, 2, before=refusing("openat", error, path))
    assert line.startswith("E-STORE-WRITE: ")
    assert os.strerror(getattr(__import__("errno"), error)) in line
