"""The outbox of a store: what a device still has to send to its fleet."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from limiar.edge_app.answer import Answer, Timing
from limiar.edge_app.store.audit_check import check
from limiar.edge_app.store.outgoing import Outgoing, mark_of, outgoing, uplink_of
from limiar.edge_app.store.reader import Reader
from limiar.edge_app.store.schema import MIGRATIONS
from limiar.edge_app.store.writer import BundleKey, Refusal, Store

KEY = BundleKey("ab" * 32, "tiny", "1.0.0", "tflite_int8", "litert 2.3.0", ("neg", "pos"))


def answer(label: str = "pos") -> Answer:
    shares = {name: 0.9 if name == label else 0.1 for name in KEY.labels}
    return Answer(label, label, 0.9, shares, Timing(0.1, 0.2, 0.3), "2026-01-01T00:00:00.000Z", "limiar 0")


def image(number: int) -> bytes:
    return number.to_bytes(32, "big")


def opened(path: Path, fleet: bool = True) -> Store:
    store = Store(path)
    store.outbox.use(fleet)
    store.use(KEY, "bundle")
    return store


def waiting(path: Path, after: int = 0) -> list[Outgoing]:
    with Reader(path) as reader:
        return outgoing(reader, after, 1000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def test_everything_that_is_kept_waits_in_one_order_until_a_collector_has_it(path: Path) -> None:
    with opened(path) as store:
        store.add(image(1), b"1.png", answer())
        store.add_frame("v4l2:/dev/video0", "boot", 1, 0, answer("neg"))
        store.refuse(Refusal("inbox", b"bad.png", b"x", None, "E-IMAGE-BROKEN", "broken", 0))
        store.review(1, "neg", "Ana", "a vessel")
        store.take_back(1, "Ana")
    found = waiting(path)
    assert [one.sequence for one in found] == [1, 2, 3, 4, 5]
    assert [one.entry.kind if one.entry else "review" for one in found] == ["file", "frame", "refusal", "review", "review"]
    assert len({one.key for one in found}) == 5
    review, taken_back = found[3].review, found[4].review
    assert review
    assert (review.of, review.label, review.by, review.why, review.takes_back) == (found[0].key, "neg", "Ana", "a vessel", None)
    assert taken_back
    assert taken_back.takes_back == found[3].key


def test_an_answer_that_is_replaced_is_sent_again_under_its_key(path: Path) -> None:
    with opened(path) as store:
        store.add(image(1), b"1.png", answer("pos"))
        store.add(image(2), b"2.png", answer("pos"))
        store.add(image(1), b"1.png", answer("neg"))
    found = waiting(path)
    assert [(one.sequence, one.number, one.entry and one.entry.label) for one in found] == [
        (1, 1, "neg"),  # the entry as it is now
        (2, 2, "pos"),
        (3, 1, "neg"),
    ]
    assert found[0].key == found[2].key
    assert len({one.mark for one in found}) == 3


def test_only_what_a_collector_committed_leaves_the_outbox(path: Path) -> None:
    with opened(path) as store:
        for number in range(5):
            store.add(image(number), b"x.png", answer())
        uplink = store.outbox.uplink()
        assert uplink
        store.outbox.delivered(uplink.store, 3)
        store.outbox.delivered(uplink.store, 2)  # an older message, late
        store.outbox.delivered(uplink.store, 6)  # that there is not
        store.outbox.delivered(bytes(16), 5)  # of another store
    assert [one.sequence for one in waiting(path)] == [4, 5]
    with Reader(path) as reader:
        now = uplink_of(reader)
        assert mark_of(reader, 3) is None
        assert mark_of(reader, 4) == waiting(path)[0].mark
    assert now
    assert (now.acked, now.newest, now.waiting) == (3, 5, 2)


def test_a_device_that_enters_a_fleet_sends_what_it_holds_already_and_one_that_leaves_it_nothing(path: Path) -> None:
    with opened(path, fleet=False) as store:
        store.add(image(1), b"1.png", answer())
        assert store.outbox.uplink() is None
    assert waiting(path) == []
    with opened(path) as store:
        store.add(image(2), b"2.png", answer())
        first = store.outbox.uplink()
    assert [one.number for one in waiting(path)] == [1, 2]
    with opened(path, fleet=False) as store:
        store.add(image(3), b"3.png", answer())
    assert waiting(path) == []
    with opened(path) as store:
        again = store.outbox.uplink()
    assert [one.number for one in waiting(path)] == [1, 2, 3]
    assert first
    assert again
    assert first.store != again.store


def test_another_command_that_writes_to_the_store_of_a_fleet_fills_the_outbox_too(path: Path) -> None:
    with opened(path):
        pass
    with Store(path, run="results") as store:
        store.use(KEY, "bundle")
        store.add(image(1), b"1.png", answer())
    assert [one.number for one in waiting(path)] == [1]


def test_a_store_that_is_renewed_sends_everything_again_under_another_name_and_the_same_keys(path: Path) -> None:
    with opened(path) as store:
        for number in range(3):
            store.add(image(number), b"x.png", answer())
        before = store.outbox.uplink()
        assert before
    keys = [one.key for one in waiting(path)]
    with opened(path) as store:
        store.outbox.delivered(before.store, 3)
        store.outbox.renew(bytes(16))  # of another store: nothing happens
        assert store.outbox.uplink() == msgspec.structs.replace(before, acked=3)
        store.outbox.renew(before.store)
        store.outbox.renew(before.store)  # asked for twice
        after = store.outbox.uplink()
    assert after
    assert (after.store != before.store, after.acked, after.newest) == (True, 0, 3)
    assert [(one.sequence, one.key) for one in waiting(path)] == list(enumerate(keys, 1))


def test_a_killed_writer_leaves_no_gap_in_the_sequence(path: Path) -> None:
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_outbox import answer, image, opened
store = opened(Path({str(path)!r}))
first = int(sys.argv[1])
for number in range(first, first + 4):
    store.add(image(number), b"x.png", answer())
    if number == first + 1:
        store.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""
    for first in (0, 10, 20):
        assert subprocess.run([sys.executable, "-P", "-c", program, str(first)]).returncode == -signal.SIGKILL
    assert [one.sequence for one in waiting(path)] == [1, 2, 3, 4, 5, 6]


def test_retention_leaves_what_no_collector_has(path: Path) -> None:
    with opened(path) as store:
        for number in range(6):
            store.add(image(number), b"x.png", answer())
        uplink = store.outbox.uplink()
        assert uplink
        store.outbox.delivered(uplink.store, 4)
        assert store.forget(count=1) == 4
        assert store.forget(count=1) == 0
    assert [one.number for one in waiting(path)] == [5, 6]


def test_an_older_database_gets_keys_and_its_audit_log_still_checks(path: Path) -> None:
    with opened(path, fleet=False) as store:
        for number in range(3):
            store.add(image(number), b"x.png", answer())
        store.audit("checkpoint", {})
    with closing(sqlite3.connect(path)) as db:  # as the limiar before wrote it
        db.executescript("DROP TABLE outbox; DROP TABLE uplink; ALTER TABLE entries DROP COLUMN key; PRAGMA user_version = 7;")
    with opened(path) as store:
        store.add(image(3), b"x.png", answer())
    assert len(MIGRATIONS) >= 8
    assert len({one.key for one in waiting(path)}) == 4
    with Reader(path) as reader:
        assert check(reader).broken is None


def test_a_copy_from_before_there_were_keys_gets_the_same_ones_each_time_it_is_brought_up_to_date(
    path: Path, tmp_path: Path
) -> None:
    """Or a fleet would have each of its entries twice once it was put back."""
    with opened(path, fleet=False) as store:
        store.add(image(1), b"1.png", answer())
        store.add_frame("v4l2:/dev/video0", "boot", 1, 0, answer("neg"))
        store.refuse(Refusal("inbox", b"bad.png", b"x", None, "E-IMAGE-BROKEN", "broken", 0))
        store.review(1, "neg", "Ana", "a vessel")
    with closing(sqlite3.connect(path)) as db:
        db.executescript("DROP TABLE outbox; DROP TABLE uplink; ALTER TABLE entries DROP COLUMN key; PRAGMA user_version = 7;")
    other, copy = tmp_path / "other.db", tmp_path / "copy.db"
    shutil.copy(path, copy)
    with opened(other) as store:
        store.add(image(1), b"1.png", answer())
    for one in (path, copy):
        with opened(one) as store:
            store.add(image(2), b"2.png", answer())
    first, second = ([row.key for row in waiting(one)] for one in (path, copy))
    assert first[:4] == second[:4]
    assert len({*first, *second, waiting(other)[0].key}) == 7


def test_an_older_copy_of_a_store_has_other_keys_where_it_goes_on(path: Path, tmp_path: Path) -> None:
    """So that a device notices that a collector has other rows under its sequences."""
    with opened(path) as store:
        store.add(image(1), b"1.png", answer())
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    for one in (path, copy):
        with opened(one) as store:
            store.add(image(2), b"2.png", answer())
    kept, went_back = waiting(path), waiting(copy)
    assert [one.key for one in kept[:1]] == [one.key for one in went_back[:1]]
    assert kept[1].key != went_back[1].key


def test_what_waits_is_read_in_parts(path: Path) -> None:
    with opened(path) as store:
        for number in range(10):
            store.add(image(number), b"x.png", answer())
    with Reader(path) as reader:
        assert [one.sequence for one in outgoing(reader, 4, 3)] == [5, 6, 7]
