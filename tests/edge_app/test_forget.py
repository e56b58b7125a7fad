"""Which rows are removed when, and which never are; the store's copy and the way back to it."""

import sqlite3
import time
from pathlib import Path

import pytest

from limiar.edge_app.answer import Answer, Timing
from limiar.edge_app.service.config import Retention
from limiar.edge_app.service.store_upkeep import StoreUpkeep
from limiar.edge_app.store.audit_check import check
from limiar.edge_app.store.reader import Reader
from limiar.edge_app.store.snapshot import restore, snapshot_path, take_snapshot
from limiar.edge_app.store.writer import BundleKey, Refusal, Store

KEY = BundleKey(sha256="ab" * 32, name="tiny", version="1.0.0", file="f", runtime="r", labels=("neg", "pos"))


def filled(path: Path, count: int = 10) -> Store:
    """`count` answers, of the days 1 to `count` of January 2026, and a refusal of now."""
    store = Store(path, "run")
    store.use(KEY, "bundle")
    for k in range(count):
        time = f"2026-01-{k + 1:02d}T00:00:00.000Z"
        store.add(bytes([k]) * 32, b"a.png", Answer("neg", "neg", 0.9, {"neg": 0.9, "pos": 0.1}, Timing(1, 1, 1), time, "x"))
    store.refuse(Refusal("inbox", b"b.png", b"id", None, "E-IMAGE-EMPTY", "empty", 0))
    store.commit()
    return store


def kept(store: Store) -> list[int]:
    return [int(str(entry)) for (entry,) in store._db.execute("SELECT id FROM entries WHERE kind != 'review' ORDER BY id")]


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({"before": "2026-01-04"}, [4, 5, 6, 7, 8, 9, 10, 11]),
        ({"count": 3}, [9, 10, 11]),
        ({"size": 1}, []),
        ({}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ({"before": "2026-01-02", "count": 4}, [8, 9, 10, 11]),
    ],
    ids=str,
)
def test_the_oldest_answers_go_until_the_rest_is_within_the_limits(
    tmp_path: Path, limits: dict[str, object], left: list[int]
) -> None:
    with filled(tmp_path / "results.db") as store:
        while store.forget(**limits):  # type: ignore[arg-type]
            store.commit()
        assert kept(store) == left


def test_what_a_person_reviewed_stays_and_the_audit_log_says_what_went(tmp_path: Path) -> None:
    with filled(tmp_path / "results.db") as store:
        store.review(2, None, "Ana", "")
        assert store.forget(count=0) == 10
        assert kept(store) == [2]
        said = store._db.execute("SELECT kind, detail ->> 'count', detail ->> 'upto' FROM audit")
    assert said == [("checkpoint", None, None), ("retention", "10", "11")]
    with Reader(tmp_path / "results.db") as reader:
        assert check(reader).broken is None


def test_an_image_that_was_forgotten_is_answered_again(tmp_path: Path) -> None:
    with filled(tmp_path / "results.db") as store:
        store.forget(count=0)
        assert store.kept([bytes([1]) * 32]) == set()


def test_a_snapshot_is_whole_while_the_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with filled(path) as store:
        store.add(b"z" * 32, b"z.png", Answer("neg", "neg", 0.9, {"neg": 0.9, "pos": 0.1}, Timing(1, 1, 1), "t", "x"))
        take_snapshot(path)
    with sqlite3.connect(snapshot_path(path)) as copy:
        assert copy.execute("SELECT count(*) FROM results").fetchone() == (10,)
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    copy.close()


def test_a_damaged_database_is_kept_aside_and_the_snapshot_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    filled(path).__exit__(None)
    take_snapshot(path)
    path.write_bytes(b"damage" * 1000)
    assert "snapshot takes its place" in restore(path)
    with Store(path) as store:
        assert len(kept(store)) == 11
    assert path.with_name("results.db.damaged").read_bytes().startswith(b"damage")
    assert "a new database begins" in restore(path)
    assert path.with_name("results.db.damaged-2").exists()


def test_the_service_removes_rows_and_copies_the_store_in_its_turns(tmp_path: Path) -> None:
    now = 0.0
    upkeep = StoreUpkeep(Retention(count=2), lambda: True, lambda: now)
    with filled(tmp_path / "results.db") as store:
        upkeep.turn(store)
        assert len(kept(store)) == 11
        now = 301.0
        upkeep.turn(store)
        assert len(kept(store)) == 2
        end = time.monotonic() + 20
        while not snapshot_path(store.path).exists() and time.monotonic() < end:
            upkeep.turn(store)
            time.sleep(0.02)
        assert snapshot_path(store.path).exists()
    upkeep.close()


def aged(path: Path, times: list[str]) -> Store:
    """An answer of each time, in this order."""
    store = Store(path, "run")
    store.use(KEY, "bundle")
    for k, at in enumerate(times):
        answer = Answer("neg", "neg", 0.9, {"neg": 0.9, "pos": 0.1}, Timing(1, 1, 1), f"{at}T00:00:00.000Z", "x")
        store.add(k.to_bytes(32, "big"), b"a.png", answer)
    store.commit()
    return store


@pytest.mark.parametrize(
    ("times", "left"),
    [
        (["1970-01-01", "1970-01-01", "2026-01-01", "2026-02-02"], [4]),  # they are older than the third
        (["2026-01-01", "1970-01-01", "2026-02-02"], [2, 3]),  # it may be as new as the third
        (["1970-01-01", "1970-01-01"], [1, 2]),
        (["2031-01-01", "2026-01-01", "2026-02-02"], [1, 2, 3]),  # so may the first
    ],
    ids=str,
)
def test_an_answer_of_an_impossible_year_has_the_age_of_the_next_one(tmp_path: Path, times: list[str], left: list[int]) -> None:
    with aged(tmp_path / "results.db", times) as store:
        while store.forget(before="2026-02-01"):
            pass
        assert kept(store) == left


def test_a_clock_that_is_years_ahead_and_believed_takes_only_some_in_an_hour(tmp_path: Path) -> None:
    now = 0.0
    upkeep = StoreUpkeep(Retention(days=30), lambda: True, lambda: now)  # every answer is over 30 days old
    with aged(tmp_path / "results.db", ["2026-01-01"] * 4800) as store:
        seen = []
        for hour in range(3):
            for step in range(20):
                now = 301.0 + hour * 3700 + step
                upkeep.turn(store)
            seen.append(4800 - len(kept(store)))
        upkeep.close()
    assert seen == [20, 40, 60]


def test_nothing_goes_for_its_age_while_the_clock_is_not_trusted(tmp_path: Path) -> None:
    now = 0.0
    upkeep = StoreUpkeep(Retention(days=1), lambda: False, lambda: now)
    with filled(tmp_path / "results.db") as store:
        now = 301.0
        upkeep.turn(store)
        assert len(kept(store)) == 11
    upkeep.close()
