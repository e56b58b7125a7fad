"""The file under the store: one writer whatever the file is called, and nothing reported that is not stored under its name.

Each loss has its control: the same without the protection loses answers, so that the test is seen to see them.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from limiar.edge_app.answer import Answer, Timing
from limiar.edge_app.errors import StoreError
from limiar.edge_app.store.database import APPLICATION_ID, Database
from limiar.edge_app.store.schema import MIGRATIONS
from limiar.edge_app.store.writer import BundleKey, Store

KEY = BundleKey("ab" * 32, name="tiny", version="1.0.0", file="tflite_int8", runtime="litert 2.3.0", labels=("neg", "pos"))


def answer(label: str = "pos", confidence: float = 0.9) -> Answer:
    shares = {name: confidence if name == label else 1 - confidence for name in KEY.labels}
    return Answer(label, label, confidence, shares, Timing(0.1, 0.2, 0.3), "2026-01-01T00:00:00.000Z", "limiar 0")


def image(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def filled(path: Path, count: int = 20) -> Path:
    """A database with answers of two images in three "neg", closed."""
    with Store(path) as store:
        store.use(KEY, "bundle")
        for number in range(count):
            store.add(image(number), b"%d.png" % number, answer("neg" if number % 3 else "pos", 0.6 + number / (4 * count)))
    return path


def stored(path: Path) -> set[bytes]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return {sha256 for (sha256,) in db.execute("SELECT image_sha256 FROM results")}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a" / "results.db"


# Two names.


def hard_link(path: Path, other: Path) -> None:
    os.link(path, other)


def linked_folder(path: Path, other: Path) -> None:
    other.parent.rmdir()
    other.parent.symlink_to(path.parent)


def link(path: Path, other: Path) -> None:
    other.symlink_to(path)


@pytest.mark.parametrize("alias", [hard_link, linked_folder, link])
def test_a_database_has_one_writer_under_all_its_names(path: Path, alias: Callable[[Path, Path], None], tmp_path: Path) -> None:
    filled(path)
    other = tmp_path / "b" / "results.db"
    other.parent.mkdir()
    with Store(path):
        alias(path, other)
        with pytest.raises(StoreError, match="E-STORE-BUSY"):
            Store(other)
        if alias is hard_link:
            other.unlink()


def test_a_database_with_a_second_hard_link_is_refused_and_left_alone(path: Path, tmp_path: Path) -> None:
    filled(path)
    (tmp_path / "b").mkdir()
    os.link(path, tmp_path / "b" / "results.db")
    before = path.read_bytes()
    for name in (path, tmp_path / "b" / "results.db"):
        with pytest.raises(StoreError, match=r"E-STORE-NAMES.*samefile"):
            Store(name)
    assert path.read_bytes() == before
    (tmp_path / "b" / "results.db").unlink()
    with Store(path):
        pass


def test_a_second_name_that_is_made_meanwhile_ends_the_reports(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="E-STORE-NAMES"), Store(path) as store:  # noqa: PT012
        store.use(KEY, "bundle")
        store.commit()
        os.link(path, tmp_path / "other.db")
        store.add(image(1), b"1.png", answer())
        store.commit()


# One writer of two: opens the database under the name given, tells so, adds an answer at each line of stdin until its end.
WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
import test_database as here
if sys.argv[3] == "unprotected":
    here.unprotect()
with here.Store(here.Path(sys.argv[2])) as store:
    store.use(here.KEY, "bundle")
    for line in sys.stdin:
        store.add(here.image(int(line)), line.encode(), here.answer())
        store.commit()
        print(line.strip(), flush=True)
"""


def unprotect() -> None:
    """The control: without the lock that holds for all names, and without the check of the name."""
    Database._locked = lambda self: os.open(self.path, os.O_RDWR | os.O_CREAT)  # type: ignore[method-assign]
    Database._check_names = lambda self: None  # type: ignore[method-assign]
    Database.check_place = lambda self: None  # type: ignore[method-assign]


def two_writers(one: Path, other: Path, protection: str) -> tuple[set[bytes], list[int]]:
    """Both add in turn, and both end: what they reported, and their exit statuses."""
    command = [sys.executable, "-P", "-c", WRITER, str(Path(__file__).parent)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    writers = [subprocess.Popen([*command, str(name), protection], **pipes) for name in (one, other)]  # type: ignore[call-overload]
    reported = set()
    for number in range(200):
        writer = writers[number % 2]
        with contextlib.suppress(BrokenPipeError):
            writer.stdin.write(f"{number}\n")
            writer.stdin.flush()
            if said := writer.stdout.readline():
                reported.add(image(int(said)))
    for writer in writers:
        with contextlib.suppress(BrokenPipeError):
            writer.communicate(timeout=60)
    return reported, [writer.returncode for writer in writers]


@pytest.mark.parametrize("protection", ["protected", "unprotected"])
def test_answers_reported_under_two_names_are_all_there_and_the_control_loses_some(
    path: Path, tmp_path: Path, protection: str
) -> None:
    filled(path, 0)
    other = tmp_path / "b" / "results.db"
    other.parent.mkdir()
    os.link(path, other)
    reported, statuses = two_writers(path, other, protection)
    with contextlib.suppress(sqlite3.DatabaseError):
        lost = reported - stored(path)
        assert bool(lost) is (protection == "unprotected")
    if protection == "protected":
        assert reported == set()
        assert all(statuses)


# Deleted, renamed or replaced in the middle.


def deleted(path: Path) -> None:
    path.unlink()


def renamed(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def replaced(path: Path) -> None:
    path.with_name("new").write_bytes(path.read_bytes())
    path.with_name("new").replace(path)


def folder_renamed(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def journal_deleted(path: Path) -> None:
    path.with_name("results.db-wal").unlink()


def journal_replaced(path: Path) -> None:
    journal = path.with_name("results.db-wal")
    journal.with_name("new").write_bytes(journal.read_bytes())
    journal.with_name("new").replace(journal)


def memory_deleted(path: Path) -> None:
    path.with_name("results.db-shm").unlink()


CHANGES = [deleted, renamed, replaced, folder_renamed, journal_deleted, journal_replaced, memory_deleted]


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_reported_once_the_file_is_no_longer_under_its_name(path: Path, change: Callable[[Path], None]) -> None:
    with pytest.raises(StoreError, match="E-STORE-MOVED"), Store(path) as store:  # noqa: PT012
        store.use(KEY, "bundle")
        store.add(image(0), b"0.png", answer())
        store.commit()
        change(path)
        store.add(image(1), b"1.png", answer())
        store.commit()


@pytest.mark.parametrize("change", [deleted, renamed, folder_renamed, journal_deleted])
def test_without_the_look_at_the_name_those_answers_are_lost(
    path: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "check_place", lambda self: None)
    store = Store(path)
    store.use(KEY, "bundle")
    store.commit()
    change(path)
    store.add(image(1), b"1.png", answer())
    store.commit()  # here it would be reported
    found: set[bytes] = set()
    with contextlib.suppress(sqlite3.Error):
        if path.exists():
            copy = path.with_name("as-after-a-power-cut.db")
            copy.write_bytes(path.read_bytes())
            if path.with_name("results.db-wal").exists():
                copy.with_name(f"{copy.name}-wal").write_bytes(path.with_name("results.db-wal").read_bytes())
            found = stored(copy)
    assert image(1) not in found
    store._db.close()


UNWATCHED = "from limiar.edge_app.store.database import Database; Database.check_place = lambda self: None\n"


@pytest.mark.parametrize("watched", [True, False], ids=["", "control"])
def test_a_scan_reports_nothing_more_once_its_database_is_renamed(
    tiny_path: Path, many_images: Path, tmp_path: Path, often: str, watched: bool
) -> None:
    db, moved = tmp_path / "r.db", tmp_path / "moved.db"
    script = often + ("" if watched else UNWATCHED) + "from limiar.edge_app.cli import main; main()"
    command = [sys.executable, "-P", "-c", script, "scan", str(tiny_path), str(many_images), "--db", str(db)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as scan:
        assert scan.stdout
        assert scan.stderr
        lines = [scan.stdout.readline()]
        db.rename(moved)
        lines += scan.stdout.readlines()
        said = scan.stderr.read()
    reported = {bytes.fromhex(json.loads(line)["sha256"]) for line in lines}
    if watched:
        assert (scan.returncode, said.count(b"\n")) == (1, 1)
        assert said.startswith(b"E-STORE-MOVED: ")
        assert len(reported) < 4_000
        (tmp_path / "r.db-wal").rename(tmp_path / "moved.db-wal")
        assert reported <= stored(moved)
    else:
        assert (scan.returncode, len(reported), db.exists()) == (0, 4_000, False)


@pytest.mark.parametrize("at", ["a label", "a page", "the schema", "the version"])
def test_a_scan_over_a_damaged_database_is_one_line(
    tiny_path: Path, images: Path, tmp_path: Path, limiar: Callable[..., "subprocess.CompletedProcess[bytes]"], at: str
) -> None:
    db = tmp_path / "r.db"
    first = limiar("scan", tiny_path, images, "--db", db)
    assert first.returncode == 0
    data = bytearray(db.read_bytes())
    place = {"a label": data.rfind(b'"neg"') + 1, "a page": 5 * 4096, "the schema": data.find(b"CREATE TABLE results") + 3}
    data[place.get(at, 63)] ^= 0x10
    db.write_bytes(data)
    done = limiar("scan", tiny_path, images, "--db", db)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1), done
    assert done.stderr.startswith((b"E-STORE-DAMAGED: ", b"E-STORE-NEWER: "))
    assert set(done.stdout.splitlines()) <= set(first.stdout.replace(b'"stored":false', b'"stored":true').splitlines())


def test_an_end_after_the_database_was_replaced_leaves_the_new_one_alone(path: Path) -> None:
    with pytest.raises(StoreError, match="E-STORE-MOVED"), Store(path) as old:  # noqa: PT012
        old.use(KEY, "bundle")
        old.commit()
        path.unlink()
        new = Store(path)
        new.use(KEY, "bundle")
        new.add(image(7), b"7.png", answer())
        new.commit()
        old.add(image(1), b"1.png", answer())
        old.commit()
    new.add(image(8), b"8.png", answer())
    new.commit()
    new._db.close()
    assert stored(path) == {image(7), image(8)}


# Whose it is.


def foreign(path: Path, *statements: str) -> dict[str, bytes]:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE moz_places (url)"],
        ["PRAGMA journal_mode=WAL", "CREATE TABLE moz_places (url)"],
        ["PRAGMA application_id=1", "CREATE TABLE x (y)"],
        ["PRAGMA application_id=1"],
        ["PRAGMA user_version=2", "CREATE TABLE results (id)"],
        ["CREATE TABLE results (id)", "CREATE TABLE bundles (id)"],
    ],
    ids=["tables", "write-ahead log", "application id", "application id alone", "user version", "tables of the same name"],
)
def test_another_program_s_database_is_refused_and_stays_as_it_is(path: Path, statements: list[str]) -> None:
    before = foreign(path, *statements)
    with pytest.raises(StoreError, match="E-STORE-FOREIGN"):
        Store(path)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t BEFORE INSERT ON results BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TRIGGER t AFTER INSERT ON results BEGIN DELETE FROM results; END",
        "CREATE TRIGGER t AFTER INSERT ON camera_results BEGIN UPDATE camera_results SET label = 'neg'; END",
        "ALTER TABLE results RENAME TO kept; CREATE VIEW results AS SELECT * FROM kept",
    ],
)
def test_a_database_that_changes_what_is_stored_in_it_is_refused(path: Path, statement: str) -> None:
    """Otherwise an answer that a trigger dropped would be reported as kept."""
    filled(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(statement)
    with pytest.raises(StoreError, match=r"E-STORE-FOREIGN: .* that limiar did not make"), Store(path):
        pass


def test_another_program_s_database_is_refused_while_that_program_writes_to_it(path: Path) -> None:
    foreign(path, "PRAGMA journal_mode=WAL")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE moz_places (url)")
        db.execute("INSERT INTO moz_places VALUES (1)")
        db.commit()
        with pytest.raises(StoreError, match="E-STORE-FOREIGN"):
            Store(path)
        db.execute("INSERT INTO moz_places VALUES (2)")
        db.commit()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM moz_places").fetchone() == (2,)


def test_a_new_database_says_that_it_is_limiar_s_and_an_older_one_learns_it(path: Path) -> None:
    filled(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        db.execute("PRAGMA application_id=0")
    before = stored(path)
    with Store(path):
        pass
    assert int.from_bytes(path.read_bytes()[68:72], "big") == APPLICATION_ID
    assert stored(path) == before


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, b"SQLite format 3\0" + bytes(84), b"text"])
def test_a_file_without_a_database_is_taken_or_refused_by_code(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    if not content:
        with Store(path):
            return
    with pytest.raises(StoreError, match=r"E-STORE-(WRITE|DAMAGED|FOREIGN)"):
        Store(path)
    assert path.read_bytes() == content


# Damage.


@pytest.mark.parametrize(
    "change",
    [
        "confidence = 0.123",
        "confidence = 17",
        'probabilities = \'{"neg":0.5,"pos":2}\'',
        "probabilities = 'x'",
        "probabilities = CAST(x'ff' AS TEXT)",
        "label = 'alien', decision = 'alien'",
        "label = 'neg'",
        "decision = 'alien'",
        "app = 'limiar 9'",
        "infer_ms = 7",
        "outside = '[\"mean\"]'",
        "image_sha256 = x'00', image_sha256 = ?",
        "bundle = 2",
    ],
)
@pytest.mark.parametrize("older", [False, True], ids=["with crc32", "older"])
def test_a_stored_answer_that_is_not_what_was_written_is_not_given(path: Path, change: str, older: bool) -> None:
    filled(path, 3)
    with Store(path) as store:
        store.use(msgspec.structs.replace(KEY, file="other"), "bundle")
    with contextlib.closing(sqlite3.connect(path)) as db:
        if older:
            db.execute("UPDATE results SET crc32 = NULL")
        if "?" in change:  # the row of another image
            db.execute("DELETE FROM results WHERE sequence = 2")
            db.execute(f"UPDATE results SET {change} WHERE sequence = 3", (image(1),))
        else:
            db.execute(f"UPDATE results SET {change} WHERE sequence = 1")
        db.commit()
    seen_by_nothing = older and change.split()[0] in ("app", "infer_ms", "outside", "image_sha256", "bundle")
    file = "other" if change == "bundle = 2" else KEY.file
    with Store(path) as store:
        store.use(msgspec.structs.replace(KEY, file=file), "bundle")
        if seen_by_nothing:
            assert store.find(image(1 if "?" in change else 0))
            return
        with pytest.raises(StoreError, match="E-STORE-DAMAGED"):
            store.find(image(1 if "?" in change else 0))
        store.add(image(0), b"0.png", answer())  # as --again does
        assert store.find(image(0)) == answer()


def flips(size: int, count: int, rng: random.Random) -> Iterator[tuple[int, int]]:
    header = [(at, bit) for at in range(100) for bit in range(0, 8, 3)]
    yield from rng.sample(header, min(count // 4, len(header)))
    for _ in range(count - count // 4):
        yield rng.randrange(size), rng.randrange(8)


def test_whatever_bit_is_flipped_the_answers_are_right_or_refused_by_code(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole.db", 60).read_bytes()
    memory = Path("/dev/shm")  # thousands of flushes: a disk would take minutes
    folder = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else tmp_path))
    path = folder / "flipped.db"
    right = {image(n): answer("neg" if n % 3 else "pos", 0.6 + n / 240) for n in range(60)}
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    outcomes = {"right": 0, "refused": 0}
    for at, bit in flips(len(whole), 600, random.Random(seed)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        try:
            with Store(path) as store:
                store.use(KEY, "bundle")
                for sha256, wanted in right.items():
                    assert store.find(sha256) in (wanted, None), (at, bit)
                    store.add(sha256, b"x.png", wanted)
                store.commit()
            outcomes["right"] += 1
        except StoreError:
            outcomes["refused"] += 1
        for file in folder.iterdir():
            file.unlink()
    folder.rmdir()
    assert min(outcomes.values()) > 0, outcomes


def test_what_can_be_read_of_a_damaged_database_is_saved_as_the_message_says(path: Path) -> None:
    filled(path, 500)
    data = bytearray(path.read_bytes())
    page = len(data) // 4096 // 2 * 4096
    data[page : page + 100] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="E-STORE-DAMAGED") as refused:
        Store(path)
    if not shutil.which("sqlite3"):
        pytest.skip("needs the sqlite3 command for the cure")
    cure = str(refused.value).partition("use that: ")[2].replace("SAVED.db", str(path.with_name("saved.db")))
    subprocess.run(["sh", "-c", cure], stderr=subprocess.DEVNULL, check=False)
    with Store(path.with_name("saved.db")) as store:
        store.use(KEY, "bundle")
        assert sum(store.find(image(number)) is not None for number in range(500)) > 200
        store.add(image(0), b"0.png", answer())


@pytest.mark.parametrize("seen", range(len(MIGRATIONS) + 1))
def test_a_database_that_lost_its_version_is_taken_for_what_its_tables_say(path: Path, seen: int) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript("".join(MIGRATIONS[:seen]))
    with Store(path) as store:
        store.use(KEY, "bundle")
        store.add(image(1), b"1.png", answer())
        assert store.find(image(1)) == answer()
        assert store._db.execute("PRAGMA user_version") == [(len(MIGRATIONS),)]


def test_the_check_at_start_ends_in_time_and_opens_what_it_did_not_finish(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path, 2000)
    monkeypatch.setattr("limiar.edge_app.store.database._CHECK_S", 0.0)
    monkeypatch.setattr("limiar.edge_app.store.database._CHECK_STEPS", 10)
    with Store(path) as store:
        store.use(KEY, "bundle")
        assert store.find(image(1))


def test_an_application_id_is_set_before_any_table(path: Path) -> None:
    Database(path).close()
    assert path.read_bytes()[68:72] == b"limi"
    assert len(MIGRATIONS) >= 4
