"""Each answer is kept once, and what was committed is still there, whatever happens."""

import copy
import os
import shutil
import sqlite3
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as Drawn
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from limiar.edge_app.answer import Answer, Timing
from limiar.edge_app.errors import StoreError
from limiar.edge_app.store.audit_check import check
from limiar.edge_app.store.reader import Reader
from limiar.edge_app.store.schema import MIGRATIONS
from limiar.edge_app.store.state import default_path
from limiar.edge_app.store.writer import BundleKey, Refusal, Store

KEY = BundleKey(
    sha256="ab" * 32, name="tiny", version="1.0.0", file="tflite_int8", runtime="litert 2.3.0", labels=("neg", "pos")
)


def answer(label: str = "pos", confidence: float = 0.9, time: str = "2026-01-01T00:00:00.000Z") -> Answer:
    shares = {name: confidence if name == label else 1 - confidence for name in KEY.labels}
    return Answer(label, label, confidence, shares, Timing(0.1, 0.2, 0.3), time, "limiar 0")


def image(number: int) -> bytes:
    return number.to_bytes(32, "big")


def rows(path: Path, sql: str = "SELECT image_sha256, path, label FROM results ORDER BY sequence") -> list[tuple[object, ...]]:
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def test_an_answer_comes_back_as_it_was_given(path: Path) -> None:
    with Store(path) as store:
        store.use(KEY, "bundle")
        store.add(image(1), b"a\xff.png", answer(confidence=1 / 3))
        assert store.find(image(1)) == answer(confidence=1 / 3)
    with Store(path) as store:
        store.use(KEY, "bundle")
        assert store.find(image(1)) == answer(confidence=1 / 3)
        assert store.find(image(2)) is None
    assert rows(path) == [(image(1), b"a\xff.png", "pos")]


@pytest.mark.parametrize(
    "other",
    [
        msgspec.structs.replace(KEY, sha256="cd" * 32),
        msgspec.structs.replace(KEY, file="tflite_fp32"),
        msgspec.structs.replace(KEY, runtime="litert 2.4.0"),
    ],
    ids=["bundle", "model file", "runtime version"],
)
def test_an_answer_holds_for_its_bundle_file_and_runtime_alone(path: Path, other: BundleKey) -> None:
    with Store(path) as store:
        store.use(KEY, "bundle")
        store.add(image(1), b"a.png", answer())
        store.use(other, "bundle")
        assert store.find(image(1)) is None
        store.add(image(1), b"a.png", answer("neg"))
    assert [label for _, _, label in rows(path)] == ["pos", "neg"]


def test_an_answer_given_again_replaces_the_one_before_and_keeps_its_place(path: Path) -> None:
    with Store(path) as store:
        store.use(KEY, "bundle")
        for number in (1, 2, 1):
            store.add(image(number), b"%d.png" % number, answer("neg" if store.find(image(number)) else "pos"))
    assert rows(path) == [(image(1), b"1.png", "neg"), (image(2), b"2.png", "pos")]


def test_an_answer_that_must_not_replace_another_leaves_it_and_says_so(path: Path) -> None:
    with Store(path) as store:
        store.use(KEY, "bundle")
        assert store.add(image(1), b"a.png", answer("pos"), replace=False)
        assert not store.add(image(1), b"b.png", answer("neg"), replace=False)
    assert rows(path) == [(image(1), b"a.png", "pos")]


def test_the_images_that_have_an_answer_are_found_among_any_number(path: Path) -> None:
    with Store(path) as store:
        store.use(KEY, "bundle")
        for number in range(0, 1200, 3):
            store.add(image(number), b"a.png", answer())
        store.commit()
        store.add(image(1), b"a.png", answer())  # not committed
        found = store.kept([*(image(number) for number in range(1200)), b"", image(3)])
    assert found == {image(number) for number in (*range(0, 1200, 3), 1)}


def test_nothing_is_on_the_disk_before_the_commit_and_everything_after(path: Path) -> None:
    with Store(path) as store:
        store.use(KEY, "bundle")
        store.commit()
        store.add(image(1), b"a.png", answer())
        assert store.changed
        assert rows(path) == []
        store.commit()
        assert not store.changed
        assert len(rows(path)) == 1


def test_every_connection_writes_ahead_and_waits_for_the_disk(path: Path) -> None:
    with Store(path) as store:
        assert store._db.execute("PRAGMA journal_mode") == [("wal",)]
        assert store._db.execute("PRAGMA synchronous") == [(2,)]  # FULL


def test_a_second_writer_is_refused_at_once_and_let_in_later(path: Path) -> None:
    with Store(path), pytest.raises(StoreError, match="E-STORE-BUSY"):
        Store(path)
    with Store(path):
        pass


def test_a_foreign_lock_on_the_database_is_refused(path: Path) -> None:
    with Store(path):
        pass
    other = sqlite3.connect(path, isolation_level=None, timeout=0)
    other.execute("BEGIN IMMEDIATE")
    with Store(path) as store:
        store._db.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(StoreError, match="E-STORE-BUSY"):
            store.use(KEY, "bundle")
    other.close()


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match="E-STORE-WRITE"):
        Store(path)
    assert path.read_bytes() == b"this is no database" * 100


def test_a_database_of_a_newer_limiar_is_refused(path: Path) -> None:
    with Store(path):
        pass
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(StoreError, match="E-STORE-NEWER"):
        Store(path)


def test_a_database_of_an_older_limiar_keeps_its_answers_and_learns_the_rest(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.executescript(f"{MIGRATIONS[0]} PRAGMA user_version = 1;")
        sha256 = bytes.fromhex(KEY.sha256)
        db.execute("INSERT INTO bundles VALUES (1, ?, 'tiny', '1.0.0', ?, ?)", (sha256, KEY.file, KEY.runtime))
        row = (image(1), b"a.png", "pos", "pos", 0.9, '{"neg": 0.1, "pos": 0.9}', 0.1, 0.2, 0.3, "limiar 0", "1970")
        db.execute("INSERT INTO results VALUES (1, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    db.close()
    with Store(path) as store:
        assert rows(path, "SELECT verified FROM bundles") == [(None,)]
        store.use(KEY, "bundle")
        found = store.find(image(1))
        assert found
        assert found.confidence == 0.9
    assert rows(path, "SELECT id, verified FROM bundles") == [(1, "bundle")]


def test_who_verified_the_runtime_is_kept_as_at_its_last_use(path: Path) -> None:
    for verified in ("device", "bundle", "bundle"):
        with Store(path) as store:
            store.use(KEY, verified)
        assert rows(path, "SELECT file, verified FROM bundles") == [(KEY.file, verified)]


@pytest.mark.parametrize("place", ["file/results.db", "file/folder/results.db"])
def test_a_file_where_the_folder_must_be_is_said(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(StoreError, match="there is a file of that name: give another place with --db or LIMIAR_STATE"):
        Store(tmp_path / place)
    assert (tmp_path / "file").read_text() == "kept"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="E-STORE-WRITE"):
        Store(tmp_path / "file" / "results.db")


def test_a_full_disk_is_said_and_what_was_committed_stays(path: Path) -> None:
    with Store(path) as store:
        store.use(KEY, "bundle")
        store.add(image(0), b"first.png", answer())
        store.commit()
        pages = store._db.execute("PRAGMA page_count")[0][0]
        store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="E-STORE-FULL"), Store(path) as store:  # noqa: PT012  # the block is what fails
        store.use(KEY, "bundle")
        store._db.execute(f"PRAGMA max_page_count = {pages}")
        for number in range(1, 1000):
            store.add(image(number), b"x" * 100, answer())
    assert rows(path) == [(image(0), b"first.png", "pos")]


def test_frames_are_kept_once_for_each_source_boot_and_sequence(path: Path) -> None:
    with Store(path) as store:
        store.use(KEY, "bundle")
        store.add_frame("picamera:0", "boot", 7, 3, answer())
        assert store.last_sequence("picamera:0", "boot") == 7
        assert store.last_sequence("picamera:0", "later boot") == 0
        with pytest.raises(StoreError, match="UNIQUE"):
            store.add_frame("picamera:0", "boot", 7, 0, answer())


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"LIMIAR_STATE": "/a"}, "/a"),
        ({"XDG_STATE_HOME": "/x"}, "/x/limiar"),
        ({"HOME": "/h"}, "/h/.local/state/limiar"),
    ],
    ids=["LIMIAR_STATE", "XDG_STATE_HOME", "HOME"],
)
def test_the_database_lies_in_the_state_folder(
    environment: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LIMIAR_STATE", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_path() == Path(folder) / "results.db"


class Model(msgspec.Struct):
    """What must be in the store."""

    answers: dict[tuple[bytes, str], str] = {}  # (image, model file) -> label
    refused: set[tuple[bytes, str]] = set()
    order: list[str] = []  # kinds of entries
    reviews: list[tuple[int, str | None]] = []
    in_hand: dict[bytes, tuple[int, bool]] = {}  # path -> tries, whether a worker has it
    frames: int = 0


class StoreMachine(RuleBasedStateMachine):
    """Whatever happens, in whatever order: an (image, bundle) has one row, and what was committed is there."""

    images = Drawn("images")

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.boots = 0
        self.path = Path(self.folder.name) / "results.db"
        self.now, self.committed = Model(), Model()
        self.file = ""

    @initialize()
    def start(self) -> None:
        self.store = Store(self.path)
        self.switch("a")

    @rule(target=images, number=st.integers(0, 30))
    def meet(self, number: int) -> bytes:
        return image(number)

    @rule(file=st.sampled_from(["a", "b"]))
    def switch(self, file: str) -> None:
        """Another bundle is installed, or rolled back to."""
        self.file = file
        self.store.use(msgspec.structs.replace(KEY, file=file), "bundle")

    @rule(
        met=images,
        name=st.binary(max_size=20),
        label=st.sampled_from(["neg", "pos"]),
        year=st.integers(1970, 2100),
        replace=st.booleans(),
    )
    def add(self, met: bytes, name: bytes, label: str, year: int, replace: bool) -> None:
        """An image shows up: new, again, renamed, with a clock that jumps."""
        known = (met, self.file) in self.now.answers
        kept = self.store.add(met, name, answer(label, time=f"{year}-01-01T00:00:00.000Z"), replace=replace)
        assert kept == (replace or not known)
        if kept:
            self.now.answers[met, self.file] = label
        if not known:
            self.now.order.append("file")

    @rule()
    def take(self) -> None:
        self.now.frames += 1
        self.store.add_frame("bench", f"boot {self.boots}", self.now.frames, 0, answer())
        self.now.order.append("frame")

    @rule(met=images)
    def find(self, met: bytes) -> None:
        found = self.store.find(met)
        assert (found.label if found else None) == self.now.answers.get((met, self.file))

    @rule(met=images)
    def refuse(self, met: bytes) -> None:
        new = (met, self.file) not in self.now.refused
        assert self.store.refuse(Refusal("inbox", b"a", met, None, "E-IMAGE-EMPTY", "empty", 0)) == new
        self.now.refused.add((met, self.file))
        self.now.order += ["refusal"] * new

    @rule(entry=st.integers(1, 20), label=st.sampled_from([None, "neg", "pos"]))
    def review(self, entry: int, label: str | None) -> None:
        if entry > len(self.now.order) or self.now.order[entry - 1] not in ("file", "frame"):
            with pytest.raises(StoreError, match="E-RESULT-MISSING"):
                self.store.review(entry, label, "Ana", "")
            return
        self.store.review(entry, label, "Ana", "")
        self.now.reviews.append((entry, label))
        self.now.order.append("review")

    @rule()
    def audit(self) -> None:
        self.store.audit("checkpoint", {})

    @rule(met=images)
    def begin(self, met: bytes) -> None:
        self.store.begin([met])
        self.now.in_hand[met] = self.now.in_hand.get(met, (0, False))[0], True

    @rule(met=images)
    def tried(self, met: bytes) -> None:
        self.store.tried([met])
        if met in self.now.in_hand:
            self.now.in_hand[met] = self.now.in_hand[met][0] + 1, False

    @rule(met=images)
    def ended(self, met: bytes) -> None:
        self.store.ended(met)
        self.now.in_hand.pop(met, None)

    @rule()
    def commit(self) -> None:
        self.store.commit()
        self.committed = copy.deepcopy(self.now)

    @rule()
    def crash(self) -> None:
        """The power goes: what opens next is what the disk has, with its journal."""
        self.boots += 1
        here = Path(self.folder.name) / str(self.boots)
        here.mkdir()
        for found in self.path.parent.glob("results.db*"):
            if not found.name.endswith("-shm"):
                shutil.copy(found, here)
        self.store._db.close()
        self.path = here / "results.db"
        self.now = copy.deepcopy(self.committed)
        self.start()
        over = {path: tries + had for path, (tries, had) in self.now.in_hand.items() if tries + had}
        assert self.store.left() == over
        self.now.in_hand = {path: (tries, False) for path, tries in over.items()}

    @precondition(lambda self: self.now == self.committed)
    @rule()
    def fill_the_disk(self) -> None:
        self.commit()
        pages = self.store._db.execute("PRAGMA page_count")[0][0]
        self.store._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="E-STORE-FULL"):
            self.store.add(image(1000), b"x" * 1_000_000, answer())
        self.crash()  # a scan ends on it

    @invariant()
    def what_was_committed_is_there_once(self) -> None:
        if not hasattr(self, "store"):
            return
        found = rows(self.path, "SELECT image_sha256, file, label FROM results JOIN bundles ON bundle = bundles.id")
        assert len({(sha256, file) for sha256, file, _ in found}) == len(found)
        assert {(sha256, file): label for sha256, file, label in found} == self.committed.answers
        assert rows(self.path, "SELECT id, kind FROM entries ORDER BY id") == list(enumerate(self.committed.order, 1))
        assert rows(self.path, "SELECT entry, label FROM reviews ORDER BY id") == self.committed.reviews
        assert len(rows(self.path, "SELECT 1 FROM refusals")) == len(self.committed.refused)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store._db.close()
            with Reader(self.path) as reader:
                assert check(reader).broken is None
        self.folder.cleanup()


# 200 examples for a change; a release runs 5,000.
EXAMPLES = int(os.environ.get("LIMIAR_STORE_EXAMPLES", "200"))
TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
