"""The audit log names what was changed behind limiar's back (P16)."""

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from limiar.edge_app.answer import Answer, Timing
from limiar.edge_app.cli import limiar
from limiar.edge_app.store import audit
from limiar.edge_app.store.audit_check import Checked, check
from limiar.edge_app.store.reader import Filter, Reader
from limiar.edge_app.store.writer import Agreement, BundleKey, Kept, Refusal, Store

TAMPERINGS = int(os.environ.get("LIMIAR_TAMPERINGS", "1000"))
KEY = BundleKey(
    sha256="ab" * 32, name="tiny", version="1.0.0", file="tflite_int8", runtime="litert 2.3.0", labels=("neg", "pos")
)


def answer(label: str = "pos", confidence: float = 0.9) -> Answer:
    shares = {name: confidence if name == label else 1 - confidence for name in KEY.labels}
    return Answer(label, label, confidence, shares, Timing(0.1, 0.2, 0.3), "2026-01-01T00:00:00.000Z", "limiar 0")


def image(number: int) -> bytes:
    return number.to_bytes(32, "big")


def checked(db: Path) -> Checked:
    with Reader(db) as reader:
        return check(reader)


def fill(db: Path, first: int, again: bool) -> None:
    """A run that writes some of everything."""
    with Store(db, "run") as store:
        store.use(KEY, "bundle" if first else "device")
        store.audit("start", {"first": str(first)})
        for number in range(first, first + 6):
            store.add(image(number), b"%d.png" % number, answer("neg" if number % 3 else "pos"), source="inbox")
        vote, kept = Agreement(5, 4, 0.25), Kept(f"bench/{first}.png", b"k" * 32)
        store.add_frame("bench", "boot", first, 0, answer(), vote, kept)
        store.refuse(Refusal("inbox", b"bad", b"identity%d" % first, b"b" * 32, "E-IMAGE-EMPTY", "empty", 1))
        store.commit()
        store.audit("checkpoint", {})
        store.commit()
        store.review(store.sequence - 1, "neg", "Ana", "a vessel")
        store.audit("review", {"by": "Ana"})
        store.commit()
        if again:
            for number in (first, first - 3, first):
                store.add(image(number), b"again.png", answer("pos", 0.7))
                store.commit()


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Several runs, answers given again, and old entries removed: within a range that the log covers, with a later review."""
    path = tmp_path / "results.db"
    for first in (10, 20, 30, 40):
        fill(path, first, again=first > 10)
    with Store(path) as store:
        store.review(2, None, "Ben", "")
        store.audit("review", {"by": "Ben"})
        store.commit()
        assert store.forget(count=store.entries - 12) == 12
        store.commit()
        store.use(KEY, "bundle")
        for number in (11, 42):  # a kept one below those that were removed, and a later one
            store.add(image(number), b"again.png", answer("pos" if number == 11 else "neg", 0.8))
        store.audit("checkpoint", {})
    return path


def test_the_log_of_what_limiar_did_is_in_order(db: Path) -> None:
    found = checked(db)
    assert found.broken is None
    assert (found.removed > 12, found.head) == (True, True)
    with Reader(db) as reader:
        assert found.covered == reader.sequence
        assert {row.kind for row in audit.log(reader.rows)} == {"start", "checkpoint", "review", "replaced", "retention"}
        assert [entry.id for entry in reader.entries(Filter(after=0), limit=1)] == [2]  # reviewed, so it stays


def test_a_log_is_in_order_while_its_writer_has_uncommitted_changes_and_after_it_was_killed(db: Path) -> None:
    store = Store(db)
    store.use(KEY, "bundle")
    store.audit("checkpoint", {})
    store.add(image(1000), b"new.png", answer())
    assert checked(db).broken is None
    store._db.close()
    assert checked(db).broken is None


def test_a_head_that_lags_after_a_crash_is_in_order_and_one_that_is_missing_is_told(db: Path) -> None:
    head = audit.head_path(db)
    kept = head.read_bytes()
    fill(db, 50, again=True)
    head.write_bytes(kept)
    assert checked(db).broken is None
    head.unlink()
    found = checked(db)
    assert (found.broken, found.head) == (None, False)


def test_an_older_copy_that_was_put_back_is_named_also_after_the_next_run(db: Path, tmp_path: Path) -> None:
    shutil.copy(db, tmp_path / "older.db")
    fill(db, 50, again=False)
    shutil.copy(tmp_path / "older.db", db)
    assert "older copy" in str(checked(db).broken)
    fill(db, 60, again=False)
    assert "older copy" in str(checked(db).broken)


def test_a_database_without_a_log_has_nothing_to_check(tmp_path: Path) -> None:
    with Store(tmp_path / "results.db") as store:
        store.use(KEY, "bundle")
        store.add(image(1), b"a.png", answer())
        store.add(image(1), b"a.png", answer("neg"))
    assert checked(tmp_path / "results.db") == Checked(0, 0, 0, False, None)


def test_the_log_stays_in_order_while_entries_are_removed_in_steps(db: Path) -> None:
    with Store(db) as store:
        while store.forget(count=0, most=7):
            store.commit()
            assert checked(db).broken is None
    fill(db, 70, again=True)
    assert checked(db).broken is None


def test_the_log_stays_in_order_if_there_was_nothing_that_covered_what_is_removed(tmp_path: Path) -> None:
    with Store(tmp_path / "results.db") as store:
        store.use(KEY, "bundle")
        for number in range(2500):
            store.add(image(number), b"a.png", answer())
        store.forget(count=2100)
        store.add(image(2000), b"again.png", answer("neg"))
    found = checked(tmp_path / "results.db")
    assert (found.broken, found.removed, found.covered) == (None, 400, 2500)


def test_tampering_is_named_and_nothing_else_is(db: Path, tmp_path: Path) -> None:
    """P16. The control: the same database, not tampered with."""
    assert checked(db).broken is None
    kinds: tuple[Callable[[sqlite3.Connection, random.Random], str], ...] = (edit, edit, edit, remove, insert, swap, cut)
    copy = tmp_path / "copy.db"
    missed = []
    for seed in range(TAMPERINGS):
        rng = random.Random(seed)
        shutil.copy(db, copy)
        shutil.copy(audit.head_path(db), audit.head_path(copy))
        with sqlite3.connect(copy) as change:
            change.execute("PRAGMA synchronous=OFF")
            what = rng.choice(kinds)(change, rng)
        change.close()
        if checked(copy).broken is None:
            missed.append((seed, what))
    assert not missed


# What is covered, and by which column a row is found. `runs`: those of results; `verified` changes with each use.
COVERED = {
    "audit": "id",
    "entries": "id",
    "results": "sequence",
    "camera_results": "id",
    "refusals": "id",
    "reviews": "id",
    "bundles": "id",
    "runs": "id",
}


def pick(db: sqlite3.Connection, rng: random.Random, tables: tuple[str, ...]) -> tuple[str, str, int]:
    table = rng.choice(tables)
    where = " WHERE id IN (SELECT run FROM results)" if table == "runs" else ""
    keys = [key for (key,) in db.execute(f"SELECT {COVERED[table]} FROM {table}{where}")]
    return table, COVERED[table], rng.choice(keys)


def edit(db: sqlite3.Connection, rng: random.Random) -> str:
    """Changes one value."""
    while True:
        table, key, row = pick(db, rng, tuple(COVERED))
        columns = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})") if name not in ("verified", "key")]
        column = rng.choice(columns)
        ((was, kind),) = db.execute(f"SELECT {column}, typeof({column}) FROM {table} WHERE {key} = ?", (row,))
        types = {name: of for _, name, of, *_ in db.execute(f"PRAGMA table_info({table})")}
        new: object
        if kind == "null":
            new = {"INTEGER": rng.randrange(100), "REAL": rng.random(), "TEXT": "x", "BLOB": b"x"}[types[column]]
        elif kind == "integer":
            new = was + rng.choice((-1, 1, 1000))
        elif kind == "real":
            new = was + rng.choice((-1e-9, 0.1))
        else:
            at = rng.randrange(len(was) + 1) if was else 0
            byte = b"\x01" if kind == "blob" else "\x01"
            new = rng.choice((was[:at] + byte + was[at:], was[: at - 1] + was[at:] if at else was + byte))
        try:
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (new, row))
        except sqlite3.IntegrityError:  # the tables refuse it
            continue
        return f"{table}.{column} of {row}: {was!r} -> {new!r}"


def remove(db: sqlite3.Connection, rng: random.Random) -> str:
    table, key, row = pick(db, rng, tuple(COVERED))
    db.execute(f"DELETE FROM {table} WHERE {key} = ?", (row,))
    return f"removed {row} of {table}"


def insert(db: sqlite3.Connection, rng: random.Random) -> str:
    """A copy of a row, at a later place with everything behind it moved, or, in a table of answers, at its end."""
    table, key, row = pick(db, rng, ("audit", "entries", "results", "camera_results", "refusals", "reviews"))
    names = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")]
    ((*values,),) = db.execute(f"SELECT {', '.join(names)} FROM {table} WHERE {key} = ?", (row,)).fetchall()
    ((last,),) = db.execute(f"SELECT max({key}) FROM {table}")
    at = last + 1
    if table in ("audit", "entries"):
        at = rng.randrange(row + 1, last + 1) if row < last else last
        db.execute(f"UPDATE {table} SET {key} = -{key} - 1 WHERE {key} >= ?", (at,))
        db.execute(f"UPDATE {table} SET {key} = -{key} WHERE {key} < 0")
        db.execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = ?", (table,))
    values[names.index(key)] = at
    for name in ("image_sha256", "identity"):
        if name in names:
            values[names.index(name)] = b"another"
    if "boot_id" in names:
        values[names.index("boot_id")] = "another"
    db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)
    return f"inserted {at} into {table}"


def swap(db: sqlite3.Connection, rng: random.Random) -> str:
    table, key, one = pick(db, rng, ("audit", "entries", "results", "refusals", "reviews"))
    while (two := pick(db, rng, (table,))[2]) == one:
        pass
    for was, now in ((one, -1), (two, one), (-1, two)):
        db.execute(f"UPDATE {table} SET {key} = ? WHERE {key} = ?", (now, was))
    return f"swapped {one} and {two} of {table}"


def cut(db: sqlite3.Connection, rng: random.Random) -> str:
    """Removes the end, also from SQLite's own count."""
    ((last,),) = db.execute("SELECT max(id) FROM audit")
    at = rng.randrange(1, last + 1)
    ((entry,),) = db.execute("SELECT coalesce(max(entry), 0) FROM audit WHERE id < ?", (at,))
    db.execute("DELETE FROM audit WHERE id >= ?", (at,))
    if rng.random() < 0.5:
        db.execute("DELETE FROM entries WHERE id > ?", (entry,))
        db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'entries'", (entry,))
    db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'audit'", (at - 1,))
    return f"cut at audit row {at}"


def test_the_command_lists_the_log_and_names_the_first_broken_link(db: Path) -> None:
    run = CliRunner().invoke
    listed = run(limiar, ["results", "audit", "--db", str(db), "--json"])
    assert [json.loads(line)["id"] for line in listed.stdout.splitlines()] == list(range(1, checked(db).rows + 1))
    assert "by=Ana" in run(limiar, ["results", "audit", "--db", str(db)]).stdout
    good = run(limiar, ["results", "audit", "--check", "--db", str(db)], standalone_mode=False)
    assert good.stdout.startswith("in order: ")
    assert good.return_value == 0
    with sqlite3.connect(db) as change:
        change.execute("UPDATE audit SET detail = '{}' WHERE id = 3")
    change.close()
    bad = run(limiar, ["results", "audit", "--check", "--db", str(db)], standalone_mode=False)
    assert "E-AUDIT-BROKEN" in bad.stderr
    assert "audit row 3 (" in bad.stderr
    assert bad.return_value == 3
    told = run(limiar, ["results", "audit", "--check", "--json", "--db", str(db)], standalone_mode=False)
    assert json.loads(told.stdout)["code"] == "E-AUDIT-BROKEN"
