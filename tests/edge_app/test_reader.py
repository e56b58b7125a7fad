"""Kept answers are read beside the process that writes them, as they were kept."""

import contextlib
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from limiar.edge_app.answer import Answer, Timing
from limiar.edge_app.errors import LimiarError, StoreError
from limiar.edge_app.results.agreement import agreement, wilson
from limiar.edge_app.results.audited import checked
from limiar.edge_app.results.review import review, undo
from limiar.edge_app.store.reader import Filter, Reader
from limiar.edge_app.store.schema import MIGRATIONS
from limiar.edge_app.store.writer import Agreement, BundleKey, Kept, Refusal, Store

KEY = BundleKey(
    sha256="ab" * 32, name="tiny", version="1.0.0", file="tflite_int8", runtime="litert 2.3.0", labels=("neg", "pos")
)


def answer(
    label: str = "pos", confidence: float = 0.9, decision: str | None = None, time: str = "2026-01-01T00:00:00.000Z"
) -> Answer:
    shares = {name: confidence if name == label else 1 - confidence for name in KEY.labels}
    return Answer(decision or label, label, confidence, shares, Timing(0.1, 0.2, 0.3), time, "limiar 0")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A file, a frame, a refusal, and a referred file; in this order."""
    path = tmp_path / "results.db"
    with Store(path, "run") as store:
        store.use(KEY, "bundle")
        store.add(b"1" * 32, b"a\xff.png", answer(), source="inbox")
        store.add_frame("bench", "boot", 7, 0, answer("neg"), Agreement(5, 4, 0.25), Kept("bench/7.png", b"k" * 32))
        store.refuse(Refusal("inbox", b"b.png", b"identity", None, "E-IMAGE-EMPTY", "empty", 0))
        store.add(b"2" * 32, b"c.png", answer("neg", 0.6, "refer", "2026-02-01T00:00:00.000Z"), source="inbox")
    return path


def found(db: Path, **which: object) -> list[int]:
    with Reader(db) as reader:
        return [entry.id for entry in reader.entries(Filter(**which))]  # type: ignore[arg-type]


def test_an_entry_has_everything_that_was_kept(db: Path) -> None:
    with Reader(db) as reader:
        first, second, third, _ = reader.entries(Filter())
    assert (first.path, first.image_sha256, first.decision, first.source) == (b"a\xff.png", b"1" * 32, "pos", "inbox")
    assert (first.bundle, first.name, first.file, first.runtime) == (KEY.sha256, "tiny", "tflite_int8", "litert 2.3.0")
    assert (first.app, len(first.app_sha256 or "")) == ("limiar 0", 64)
    assert (second.kind, second.sequence, second.frames, second.agreeing, second.spread) == ("frame", 7, 5, 4, 0.25)
    assert (second.kept, second.kept_sha256) == ("bench/7.png", b"k" * 32)
    assert (third.decision, third.code, third.label, third.image_sha256) == ("refused", "E-IMAGE-EMPTY", None, None)


@pytest.mark.parametrize(
    ("which", "ids"),
    [
        ({}, [1, 2, 3, 4]),
        ({"after": 2}, [3, 4]),
        ({"since": "2026-02"}, [3, 4]),  # the refusal is of now
        ({"decision": "refer"}, [4]),
        ({"decision": "refused"}, [3]),
        ({"label": "neg"}, [2, 4]),
        ({"source": "bench"}, [2]),
        ({"confidence": (0.5, 0.7)}, [4]),
        ({"kinds": ("frame",)}, [2]),
        ({"reviewed": True}, []),
        ({"source": "x' OR 1=1 --"}, []),
    ],
)
def test_a_filter_lets_pass_what_fits(db: Path, which: dict[str, object], ids: list[int]) -> None:
    assert found(db, **which) == ids
    with Reader(db) as reader:
        assert reader.count(Filter(**which)) == len(ids)  # type: ignore[arg-type]


def test_the_newest_come_first_if_asked_for(db: Path) -> None:
    with Reader(db) as reader:
        assert [entry.id for entry in reader.entries(Filter(), newest=True, limit=2)] == [4, 3]


def test_a_review_is_kept_beside_the_answer_and_the_last_one_counts(db: Path) -> None:
    assert review(db, 1, "neg", "Ana", "a scar") == "neg"
    assert review(db, 1, None, "Rui", "") == "pos"
    with Reader(db) as reader:
        entry = reader.entry(1)
        assert [one.by for one in reader.reviews(1)] == ["Ana", "Rui"]
        assert [one.kind for one in reader.entries(Filter())] == ["file", "frame", "refusal", "file"]
    assert (entry.label, entry.review and entry.review.by, entry.review and entry.review.label) == ("pos", "Rui", None)
    assert found(db, reviewed=True) == [1]
    assert found(db, reviewed=False) == [2, 3, 4]


@pytest.mark.parametrize(
    ("number", "label", "code"),
    [(99, None, "E-RESULT-MISSING"), (3, None, "E-RESULT-MISSING"), (1, "x", "E-RESULT-LABEL"), (1, "pos", "E-RESULT-LABEL")],
)
def test_a_review_that_says_nothing_is_refused(db: Path, number: int, label: str | None, code: str) -> None:
    with pytest.raises(LimiarError) as caught:
        review(db, number, label, "Ana", "")
    assert caught.value.code == code


def test_agreement_counts_the_last_review_of_each_answer(db: Path) -> None:
    review(db, 1, "neg", "Ana", "a scar")
    review(db, 1, None, "Rui", "")
    review(db, 4, "pos", "Ana", "clear")
    with Reader(db) as reader:
        seen = agreement(reader, Filter())
    assert (seen.answers, seen.reviewed) == (3, 2)
    assert (seen.all.agree, seen.all.n) == (1, 2)
    assert (seen.decided.agree, seen.decided.n, seen.referred.agree, seen.referred.n) == (1, 1, 0, 1)
    assert seen.overruled == {"neg -> pos": 1}


@pytest.mark.parametrize(  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    ("agree", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_of_a_share_is_the_published_one(agree: int, n: int, low: float, high: float) -> None:
    assert wilson(agree, n) == pytest.approx((low, high), abs=5e-5)


def test_reading_goes_on_beside_the_writer_and_sees_what_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with Store(path) as store:
        store.use(KEY, "bundle")
        store.add(b"1" * 32, b"a.png", answer())
        store.commit()
        with Reader(path) as reader:
            store.add(b"2" * 32, b"b.png", answer())
            assert reader.sequence == 1
            store.commit()
            assert reader.sequence == 2


def test_a_database_whose_writer_was_killed_is_read_whole_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_reader import KEY, answer
from limiar.edge_app.store.writer import Store
from collections.abc import Callable
from pathlib import Path
store = Store(Path({str(path)!r}))
store.use(KEY, "bundle")
for k in range(50):
    store.add(bytes([k]) * 32, b"a.png", answer())
store.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-P", "-c", code)
    assert ended == -signal.SIGKILL
    before = path.read_bytes(), path.with_name("results.db-wal").read_bytes()
    assert len(found(path)) == 50
    assert (path.read_bytes(), path.with_name("results.db-wal").read_bytes()) == before


def test_a_database_of_an_older_limiar_is_not_changed_but_named(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with sqlite3.connect(path) as db:
        db.executescript("".join(MIGRATIONS[:4]) + "PRAGMA user_version = 4; PRAGMA application_id = 0x6c696d69;")
    db.close()
    with pytest.raises(StoreError) as caught:
        Reader(path)
    assert caught.value.code == "E-STORE-OLDER"


@pytest.mark.parametrize(
    ("made", "code"), [("none", "E-STORE-MISSING"), ("text", "E-STORE-DAMAGED"), ("foreign", "E-STORE-FOREIGN")]
)
def test_what_is_no_database_of_limiar_is_named(tmp_path: Path, made: str, code: str) -> None:
    path = tmp_path / "results.db"
    if made == "text":
        path.write_text("not a database" * 100)
    elif made == "foreign":
        sqlite3.connect(path).execute("CREATE TABLE x (y)").connection.close()
    with pytest.raises(StoreError) as caught:
        Reader(path)
    assert caught.value.code == code


def test_a_damaged_value_is_an_error_and_not_an_answer(db: Path) -> None:
    with sqlite3.connect(db) as connection:
        connection.execute("UPDATE results SET probabilities = 'x' WHERE sequence = 1")
    connection.close()
    with pytest.raises(StoreError) as caught:
        found(db)
    assert caught.value.code == "E-STORE-DAMAGED"


def test_the_command_lists_shows_and_reviews(db: Path, limiar) -> None:  # type: ignore[no-untyped-def]
    lines = [msgspec.json.decode(line) for line in limiar("results", "--db", db, "--json").stdout.splitlines()]
    assert [line["id"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["path"] == "a\\xff.png"
    assert limiar("results", "overrule", "4", "pos", "--by", "Ana", "--why", "clear", "--db", db).returncode == 0
    shown = limiar("results", "show", "4", "--db", db).stdout.decode()
    assert "overruled: pos, by Ana: clear" in shown
    assert limiar("results", "show", "99", "--db", db).returncode == 1


def test_a_spreadsheet_holds_no_formula(db: Path, tmp_path: Path, limiar) -> None:  # type: ignore[no-untyped-def]
    with Store(db) as store:
        store.use(KEY, "bundle")
        store.add(b"9" * 32, b"=HYPERLINK(1).png", answer(), source="+x")
    file = tmp_path / "results.csv"
    assert limiar("results", "--db", db, "--csv", file).returncode == 0
    rows = file.read_text().splitlines()
    assert len(rows) == 6
    assert "'=HYPERLINK" in rows[-1]
    assert "'+x" in rows[-1]
    assert limiar("results", "--db", db, "--csv", "-").stdout == file.read_bytes()


def test_a_review_is_taken_back_and_the_one_before_holds_again(db: Path) -> None:
    review(db, 4, None, "Ana", "")
    review(db, 4, "pos", "Rui", "a vessel")
    assert undo(db, 4, "Ana") == "neg"
    assert undo(db, 4, "Rui") is None
    with Reader(db) as reader:
        assert reader.entry(4).review is None
        assert [(one.by, one.undone_by) for one in reader.reviews(4)] == [("Ana", "Rui"), ("Rui", "Ana")]
        assert agreement(reader, Filter()).reviewed == 0
    review(db, 4, "pos", "Ana", "")
    assert found(db, reviewed=True) == [4]


def test_without_a_review_there_is_nothing_to_take_back(db: Path) -> None:
    with pytest.raises(StoreError, match="E-RESULT-REVIEW"):
        undo(db, 4, "Ana")
    review(db, 4, None, "Ana", "")
    undo(db, 4, "Ana")
    with pytest.raises(StoreError, match="E-RESULT-REVIEW"):
        undo(db, 4, "Ana")


def test_the_audit_log_covers_a_review_that_was_taken_back(db: Path) -> None:
    review(db, 4, None, "Ana", "")
    undo(db, 4, "Rui")
    assert checked(db).code is None
    with contextlib.closing(sqlite3.connect(db)) as edited:
        edited.execute("UPDATE reviews SET takes_back = NULL")
        edited.commit()
    assert checked(db).code == "E-AUDIT-BROKEN"


def test_entries_before_an_id_and_the_last_of_each_source_are_found(db: Path) -> None:
    assert found(db, before=3) == [1, 2]
    with Reader(db) as reader:
        assert reader.latest_by_source() == {"inbox": 4, "bench": 2}
        assert reader.latest_by_source(within=1) == {"inbox": 4}
        assert [reader.count(Filter(), upto=upto) for upto in (1, 10)] == [2, 4]


def steps(path: Path, look: Callable[[Reader], object]) -> int:
    """What reading costs: hundreds of instructions of SQLite's machine."""
    counted: list[None] = []
    with Reader(path) as reader:
        reader._db.set_progress_handler(lambda: counted.append(None), 100)
        look(reader)
    return len(counted)


@pytest.fixture(scope="module")
def short_and_long(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two stores, one with ten times the answers; in both, 20 are reviewed."""
    folder = tmp_path_factory.mktemp("stores")
    for count in (300, 3000):
        with Store(folder / f"{count}.db") as store:
            store.use(KEY, "bundle")
            for number in range(count):
                about = ("neg", 0.6, "refer") if number % 3 else ("pos", 0.9)
                store.add(b"%032d" % number, b"a.png", answer(*about), source="ward" if number % 2 else "inbox")
            for number in range(20):
                store.review(10 + 10 * number, "neg" if number % 2 else None, "Ana", "")
    return folder / "300.db", folder / "3000.db"


@pytest.mark.parametrize(
    "look",
    [
        lambda reader: list(reader.entries(Filter(), newest=True, limit=50)),
        lambda reader: list(reader.entries(Filter(decision="refer", reviewed=False, source="ward"), newest=True, limit=50)),
        lambda reader: list(reader.entries(Filter(before=200), newest=True, limit=50)),
        lambda reader: reader.count(Filter(decision="refer", reviewed=False), upto=50),
        lambda reader: reader.latest_by_source(within=100),
        lambda reader: reader.reviewed(Filter()),
        lambda reader: (reader.sequence, reader.entry(100), reader.reviews(100)),
    ],
    ids=["first page", "filtered page", "later page", "bounded count", "sources", "reviewed", "one"],
)
def test_what_a_page_shows_costs_the_same_however_much_is_kept(
    short_and_long: tuple[Path, Path], look: Callable[[Reader], object]
) -> None:
    short, long = (steps(path, look) for path in short_and_long)
    assert long <= short + 2
    everything = [steps(path, lambda reader: reader.count(Filter(decision="refer"))) for path in short_and_long]
    assert everything[1] > 5 * everything[0]  # the control
