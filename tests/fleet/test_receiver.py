"""The collector's rules: which rows are taken, what is acknowledged, and what no message of any device can do."""

import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from limiar.edge_app.collect.columns import WrongMessage
from limiar.edge_app.collect.database import FleetDatabase, reading
from limiar.edge_app.collect.receiver import Message, Receiver, all_acked
from limiar.edge_app.collect.schema import DEVICES, ROWS
from limiar.edge_app.errors import StoreError
from limiar.edge_app.fleet.messages import LONGEST, NO_KEY, NO_MARK, Acked
from senders import STORE, key, line, row, rows, said, status

OTHER = "b" * 32


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with FleetDatabase(url, make=True) as database, database.held() as held:
        yield held


def take(connection: Connection, *messages: Message, receiver: Receiver | None = None) -> Acked | None:
    acked = None
    for message in messages:
        with connection.begin():
            acked = (receiver or Receiver()).take(connection, message)
    return acked


def kept(connection: Connection) -> list[tuple[str, int, str]]:
    with connection.begin():
        return [tuple(one) for one in connection.execute(select(ROWS.c.device, ROWS.c.entry, ROWS.c.key).order_by(ROWS.c.id))]


def test_rows_are_taken_in_order_once_and_a_gap_takes_nothing(connection: Connection) -> None:
    assert take(connection, rows(row(1), row(2))) == Acked(store=STORE, sequence=2, mark=key(2))
    assert take(connection, rows(row(1), row(2), row(3))) == Acked(store=STORE, sequence=3, mark=key(3))
    assert take(connection, rows(row(5))) == Acked(store=STORE, sequence=3, mark=key(3), gap=True)
    assert take(connection, rows(row(4), row(6))) == Acked(store=STORE, sequence=4, mark=key(4), gap=True)
    assert take(connection, rows(row(7), store=OTHER)) == Acked(store=OTHER, sequence=0, mark=NO_MARK, gap=True)
    assert take(connection, rows(row(1), name="two")) == Acked(store=STORE, sequence=1, mark=key(1))
    assert kept(connection) == [("one", number, key(number)) for number in range(1, 5)] + [("two", 1, key(1))]
    with connection.begin():
        assert dict(all_acked(connection))["one"].store == OTHER


def test_an_entry_that_comes_again_replaces_its_line_and_stays_one(connection: Connection) -> None:
    take(connection, rows(row(1), row(2)))
    take(connection, rows(row(3, key=key(1), entry=1, line=line(1, decision="neg"))))
    assert take(connection, rows(row(1), row(2), row(3, key=key(1)), row(4))) == Acked(store=STORE, sequence=4, mark=key(4))
    take(connection, rows(*(row(number) for number in (1, 2, 4)), store=OTHER))  # a gap: the first two are taken
    assert kept(connection) == [("one", 1, key(1)), ("one", 2, key(2)), ("one", 4, key(4))]


def test_a_store_put_back_from_a_copy_is_seen_by_its_marks(connection: Connection) -> None:
    take(connection, rows(*(row(number) for number in range(1, 11))))
    known = Acked(store=STORE, sequence=10, mark=key(10), gap=True)
    copy = [row(number, copy=number > 5) for number in range(1, 30)]
    assert take(connection, rows(*copy[5:15])) == known
    assert take(connection, rows(*copy[10:15], before=key(10, 1))) == known  # the message before it was lost
    assert take(connection, rows(row(11), before=key(10))) == Acked(store=STORE, sequence=11, mark=key(11))
    assert len(kept(connection)) == 11


def test_the_same_entries_sent_again_by_a_store_and_by_a_copy_of_it_are_told_apart(connection: Connection) -> None:
    take(connection, rows(*(row(number) for number in range(1, 4))))
    take(connection, rows(*(row(number + 3, key=key(number)) for number in range(1, 4))))  # answered again
    copy = [row(number + 3, copy=1, key=key(number), line=line(number, decision="neg")) for number in range(1, 4)]
    assert take(connection, rows(*copy)) == Acked(store=STORE, sequence=6, mark=key(6), gap=True)
    take(connection, rows(*(one | {"sequence": number} for number, one in enumerate(copy, 1)), store=OTHER))
    with connection.begin():
        assert set(connection.scalars(select(ROWS.c.decision))) == {"neg"}


def test_whatever_is_lost_or_comes_twice_every_row_is_there_in_the_end(connection: Connection) -> None:
    """The simplest device: it sends from what is acknowledged on, and the way loses messages and repeats old ones."""
    rng = random.Random(22)
    acked, old = Acked(store=STORE, sequence=0, mark=NO_MARK), []
    while acked.sequence < 200:
        sent = [row(number) for number in range(acked.sequence + 1, min(acked.sequence + rng.randint(1, 30), 200) + 1)]
        cut = rng.randint(1, len(sent))
        messages = [rows(*part) for part in (sent[:cut], sent[cut:]) if part]
        old += messages
        way = [one for one in messages if rng.random() < 0.7] + rng.sample(old, rng.randint(0, 2))
        for message in way:
            acked = take(connection, message) or acked
    assert kept(connection) == [("one", number, key(number)) for number in range(1, 201)]


def test_reviews_and_refusals_have_columns_too_and_a_gone_entry_only_counts(connection: Connection) -> None:
    review = {"of": key(1), "label": "neg", "by": "Ana", "why": "", "time": "2026-11-28T05:00:00.000Z"}
    refused = {"decision": "refused", "label": None, "confidence": None, "code": "E-IMAGE-TRUNCATED", "message": "m"}
    sent = [row(1, kind="refusal", line=line(1, **refused)), row(2, kind="review", line=None, review=review)]
    assert take(connection, rows(*sent, row(3, kind="gone", key=NO_KEY, line=None), row(4))).sequence == 4
    with connection.begin():
        found = connection.execute(select(ROWS.c.kind, ROWS.c.decision, ROWS.c.label, ROWS.c.of).order_by(ROWS.c.id)).all()
    assert [tuple(one) for one in found] == [
        ("refusal", "refused", None, None),
        ("review", None, "neg", key(1)),
        ("file", "pos", "pos", None),
    ]


def test_one_collector_holds_a_database_and_what_reads_it_is_not_kept_away(url: str) -> None:
    with FleetDatabase(url, make=True) as database, FleetDatabase(url) as other:
        with database.held() as connection:
            with pytest.raises(StoreError, match="E-COLLECT-BUSY"), other.held():
                pass
            with connection.begin(), reading(other) as beside:
                Receiver().take(connection, rows(row(1)))
                assert beside.scalar(select(ROWS.c.id)) is None
        with other.held():
            pass


WRONG = {
    "not JSON": b"{",
    "another schema": json.dumps({"schema": 2, "store": STORE, "rows": []}).encode(),
    "a store of another form": json.dumps({"schema": 1, "store": "A" * 32, "rows": []}).encode(),
    "no line": rows({"sequence": 1, "mark": key(1), "key": key(1), "kind": "file"}).payload,
    "a review that says nothing": rows({"sequence": 1, "mark": key(1), "key": key(1), "kind": "review"}).payload,
    "a sequence from below": rows(row(0)).payload,
    "a sequence beyond any": rows(row(1 << 62)).payload,
    "201 rows": rows(*(row(number) for number in range(1, 202))).payload,
    "too long": b" " * (LONGEST + 1),
    "a line of 1 MB": rows(row(1, line=line(1, later=["x" * 1000] * 1100))).payload,
    "lone surrogates": rows(row(1, line=line(1, source="\ud800"))).payload,
    "lone surrogates in a review": rows(said(1, 1, "\ud800")).payload,
    "bytes that are not UTF-8": rows(row(1)).payload.replace(b"1.png", b"\xff.png"),
    "nothing but brackets": b"[" * 1_000_000,
    "levels that only just can be read": rows(row(1, line=line(1, later=json.loads("[" * 900 + "]" * 900)))).payload,
}


@pytest.mark.parametrize("payload", WRONG.values(), ids=WRONG)
def test_a_wrong_message_is_refused_and_nothing_of_it_is_kept(payload: bytes, url: str) -> None:
    with FleetDatabase(url, make=True) as database, database.held() as connection:
        with pytest.raises(WrongMessage):
            take(connection, Message("limiar/one/up/rows", payload))
        assert kept(connection) == []


@pytest.mark.parametrize("topic", ["limiar/one/down/acked", "limiar/a/b/up/rows", "other/one/up/rows", "limiar/-x/up/rows"])
def test_a_topic_that_is_not_a_device_s_is_refused(topic: str, connection: Connection) -> None:
    with pytest.raises(WrongMessage):
        take(connection, rows(row(1))._replace(topic=topic))


def test_what_lies_within_its_form_does_no_harm(connection: Connection) -> None:
    odd = [
        row(1, line=line(1, source="a\0b", label="\0", time="yesterday", decision="\u202e")),
        row(2, line=line(2, time="2026-11-28T05:00:00Z'; DROP TABLE rows; --", id=1 << 63)),
        row(2, copy=1),  # a number twice
    ]
    acked = take(connection, rows(*odd))
    assert acked == Acked(store=STORE, sequence=2, mark=key(2), gap=True)
    with connection.begin():
        found = connection.execute(select(ROWS.c.source, ROWS.c.label, ROWS.c.time, ROWS.c.received).order_by(ROWS.c.id)).all()
    assert found[0][:2] == ("a\\x00b", "\\x00")
    assert [one.time == one.received for one in found] == [True, True]


@pytest.mark.parametrize("time", ["2026-W01-1T00:00:00Z", "2026-01-01T00Z", "2026-01-01\0000:00:00Z", "2026-01-01T00:00:00,5Z"])
def test_whatever_a_device_sends_a_query_over_all_rows_can_read_it(time: str, connection: Connection) -> None:
    sent = row(1, line=line(1, path="a\0b", time=time, later={"\0": ["\0", 1 << 70, 1e300]}))
    take(connection, rows(sent, said(2, 1, "\0")), Message("limiar/one/up/status", json.dumps(status(app="\0")).encode()))
    read = {
        "sqlite": ("json_extract(line, '$.path')", "julianday(time)", "json(status)"),
        "postgresql": ("line::jsonb ->> 'path'", "time::timestamptz", "status::jsonb"),
    }
    sql = f"SELECT {', '.join(read[connection.dialect.name])} FROM rows, devices ORDER BY rows.id"
    with connection.begin():
        found = connection.exec_driver_sql(sql).all()
    assert found[0][0] == "a\\x00b"
    assert all(one[1] for one in found)


def test_a_status_gives_columns_and_what_the_broker_kept_is_no_sign_of_life(connection: Connection) -> None:
    clock = iter(f"2026-11-28T05:00:{second:02d}.000Z" for second in range(60))
    receiver = Receiver(now=lambda: next(clock))
    newer = status(drift=[{"statistic": "brightness", "message": "m", "age_s": 1.0}], later={"field": 1})

    def device() -> dict[str, object]:
        with connection.begin():
            return dict(connection.execute(select(DEVICES)).one()._mapping)

    take(connection, Message("limiar/one/up/online", b"true"), receiver=receiver)
    first = device()
    assert first["online"] is True
    take(connection, Message("limiar/one/up/status", json.dumps(newer).encode()), receiver=receiver)
    told = device()
    assert (told["drift"], told["refer_rate"], told["waiting"], told["groups"]) == (1, 0.25, 7, '["north"]')
    assert told["clock_trusted"] is True
    assert json.loads(told["status"])["later"] == {"field": 1}
    assert told["last_seen"] > first["last_seen"]
    take(connection, Message("limiar/one/up/status", json.dumps(status()).encode(), retained=True), receiver=receiver)
    take(connection, Message("limiar/one/up/online", b"false"), receiver=receiver)
    last = device()
    assert (last["drift"], last["online"], last["last_seen"]) == (0, False, told["last_seen"])
    with pytest.raises(WrongMessage):
        take(connection, Message("limiar/one/up/status", b"{}"), receiver=receiver)
    for later in (["x" * 1000] * 1100, json.loads("[" * 900 + "]" * 900)):
        for many in (status(later=later), status() | {"fleet": {"groups": [], "later": later}}):
            with pytest.raises(WrongMessage):
                take(connection, Message("limiar/one/up/status", json.dumps(many).encode()), receiver=receiver)
    bundle = {"name": "n", "version": "1", "sha256": "c", "counter": 1 << 70, "file": "f", "runtime": "r", "verified": "b\0"}
    take(connection, Message("limiar/one/up/status", json.dumps(status(bundle=bundle)).encode()), receiver=receiver)
    assert (device()["counter"], device()["verified"]) == (None, "b\\x00")


def test_an_image_is_kept_under_its_entry_s_key_whatever_its_name_says(connection: Connection, tmp_path: Path) -> None:
    receiver = Receiver(images=tmp_path / "images")
    image = base64.b64encode(b"\x89PNG rest").decode()
    take(connection, rows(row(1, image=image, line=line(1, path="../../x.html"))), receiver=receiver)
    assert [one.relative_to(tmp_path / "images") for one in (tmp_path / "images").rglob("*.*")] == [Path(f"one/{key(1)}.png")]
    with pytest.raises(WrongMessage):
        take(connection, rows(row(2, image="*")), receiver=receiver)
