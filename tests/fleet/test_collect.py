"""The real `limiar collect` between a real mosquitto and a real database: what it acknowledges, and what it outlives."""

import json
import resource
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from authority import Authority
from broker import ACCESS, COLLECTOR, Broker, broker
from collecting import Collecting, Speaker
from limiar.edge_app.collect.config import BrokerSection
from limiar.edge_app.collect.database import FleetDatabase
from limiar.edge_app.collect.receiver import Message, Receiver
from limiar.edge_app.collect.run import open_link
from needed import needed
from postgres import Postgres
from senders import key, row, rows, status

COUNT = "SELECT count(*), count(DISTINCT key), max(entry) FROM rows"


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Broker]:
    """A broker without TLS."""
    with needed(broker(tmp_path / "broker")) as started:
        yield started


def batch(first: int, last: int) -> list[Message]:
    return [rows(*(row(number) for number in range(k, min(k + 50, last + 1)))) for k in range(first, last + 1, 50)]


def test_what_is_acknowledged_is_committed_also_when_everything_is_killed(plain: Broker, url: str, tmp_path: Path) -> None:
    with Collecting(tmp_path, plain.address, url) as collector:
        collector.connected()
        with Speaker(plain.port) as device:
            device.send(
                Message("limiar/one/up/online", b"true"), Message("limiar/one/up/status", json.dumps(status()).encode())
            )
            device.send(*batch(1, 500))
            collector.wait(lambda: device.last and device.last.sequence == 500)
            assert collector.rows(COUNT) == [(500, 500, 500)]
            collector.kill()
            device.send(*batch(501, 700))  # the broker keeps them
        plain.kill()
        plain.start()
        collector.start()
        with Speaker(plain.port) as device:
            collector.wait(lambda: device.last)  # it says to everyone what it has, also after the broker has lost that
            assert device.last
            device.send(*batch(device.last.sequence + 1, 1000), *batch(401, 600))
            collector.wait(lambda: device.last and device.last.sequence == 1000 and not device.last.gap)
            assert device.last.mark == key(1000)
        assert collector.rows(COUNT) == [(1000, 1000, 1000)]
        assert collector.rows("SELECT name, waiting FROM devices") == [("one", 7)]
        assert collector.end() == 0


def test_messages_that_are_wrong_are_named_and_stop_nothing(plain: Broker, tmp_path: Path) -> None:
    with Collecting(tmp_path, plain.address, f"sqlite:///{tmp_path}/fleet.db") as collector, Speaker(plain.port) as device:
        collector.connected()
        wrong = {"a": b"{", "b": b" " * 10_000_000, "c": json.dumps({"schema": 9}).encode(), "d": rows(row(0)).payload}
        device.send(*(Message(f"limiar/{name}/up/rows", payload) for name, payload in wrong.items()))
        device.send(Message("limiar/e/up/status", b"[]"), Message("limiar/f/up/online", b"perhaps"))
        device.send(Message("limiar/g/up/rows", b" " * 20_000_000), *batch(1, 10))  # so much does not even come
        collector.wait(lambda: device.last and device.last.sequence == 10)
        text = collector.log.read_text()
        assert [f"E-COLLECT-MESSAGE: {name}: " in text for name in "abcdefg"] == [True] * 6 + [False]
        assert collector.rows("SELECT name FROM devices") == [("one",)]


def test_while_postgresql_is_away_nothing_is_acknowledged(plain: Broker, server: Postgres, tmp_path: Path) -> None:
    with Collecting(tmp_path, plain.address, server.database()) as collector, Speaker(plain.port) as device:
        collector.connected()
        device.send(*batch(1, 100))
        collector.wait(lambda: device.last and device.last.sequence == 100)
        server.kill()
        device.send(*batch(101, 200))
        collector.wait(lambda: collector.says("error E-COLLECT-DATABASE"))
        assert device.last
        assert device.last.sequence == 100
        server.start()
        collector.wait(lambda: device.last and device.last.sequence == 200)
        assert collector.rows(COUNT) == [(200, 200, 200)]
        assert collector.says("can be used again")


def test_while_the_disk_is_full_nothing_is_acknowledged(plain: Broker, tmp_path: Path) -> None:
    with Collecting(tmp_path, plain.address, f"sqlite:///{tmp_path}/fleet.db") as collector, Speaker(plain.port) as device:
        collector.connected()
        device.send(*batch(1, 100))
        collector.wait(lambda: device.last and device.last.sequence == 100)
        before = resource.prlimit(collector.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(collector.pid, resource.RLIMIT_FSIZE, (4096, before[1]))
        device.send(*batch(101, 200))
        collector.wait(lambda: collector.says("error E-COLLECT-DATABASE"))
        assert device.last
        assert device.last.sequence == 100
        resource.prlimit(collector.pid, resource.RLIMIT_FSIZE, before)
        collector.wait(lambda: device.last and device.last.sequence == 200)
        assert collector.rows(COUNT) == [(200, 200, 200)]


@pytest.mark.parametrize("copy", [True, False], ids=["an older copy", "nothing"])
def test_rows_never_go_into_a_file_that_is_not_the_database_any_more(plain: Broker, copy: bool, tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    with Collecting(tmp_path, plain.address, f"sqlite:///{path}") as collector, Speaker(plain.port) as device:
        collector.connected()
        device.send(*batch(1, 100))
        collector.wait(lambda: device.last and device.last.sequence == 100)
        with sqlite3.connect(path) as source, sqlite3.connect(tmp_path / "copy.db") as target:
            source.backup(target)
        device.send(*batch(101, 150))
        collector.wait(lambda: device.last and device.last.sequence == 150)
        for name in ("fleet.db", "fleet.db-wal", "fleet.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        if not copy:
            device.send(*batch(151, 200))
            collector.wait(lambda: collector.says("E-COLLECT-MISSING"))
            assert not path.exists()
        (tmp_path / "copy.db").rename(path)
        collector.wait(lambda: device.last and device.last.sequence == 100)  # it says so unasked
        device.send(*batch(101, 200))
        collector.wait(lambda: device.last and device.last.sequence == 200)
        assert collector.rows(COUNT) == [(200, 200, 200)]


def test_a_second_collector_of_a_database_is_refused(plain: Broker, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/fleet.db"
    with FleetDatabase(url, make=True) as database, database.held(), Collecting(tmp_path, plain.address, url) as collector:
        assert collector.process
        assert collector.process.wait(120) == 1
        assert collector.says("E-COLLECT-BUSY")
    with Collecting(tmp_path, plain.address, url) as collector:
        assert collector.connected().end(signal.SIGINT) == 130


@pytest.mark.parametrize(
    ("authority", "user", "access", "says"),
    [
        ("fleet", COLLECTOR, ACCESS, "I-COLLECT-CONNECTED"),
        (
            "fleet",
            COLLECTOR,
            ACCESS.replace("topic write limiar/+/down/#", ""),
            "E-COLLECT-DENIED: the broker refuses limiar/one",
        ),
        ("fleet", "two", ACCESS, "E-COLLECT-DENIED: the broker refuses limiar/one"),
        ("other", COLLECTOR, ACCESS, "E-COLLECT-BROKER: no connection to the broker: certificate verify failed"),
    ],
    ids=["collector", "may not write", "another device", "another authority"],
)
def test_with_certificates_it_does_what_the_broker_lets_it_do(
    authority: str, user: str, access: str, says: str, tmp_path: Path
) -> None:
    fleet = Authority(tmp_path / "fleet")
    own = Authority(tmp_path / "other") if authority == "other" else fleet
    pair, url = own.client(user), f"sqlite:///{tmp_path}/fleet.db"
    with FleetDatabase(url, make=True) as database, database.engine.begin() as connection:
        Receiver().take(connection, rows(row(1)))
    lines = f'authority = "{own.certificate}"\ncertificate = "{pair.certificate}"\nkey = "{pair.key}"\n'
    with (
        needed(broker(tmp_path / "broker", fleet, access=access)) as started,
        Collecting(tmp_path, started.address, url, tls=lines) as collector,
    ):
        collector.wait(lambda: collector.says(says))
        assert collector.says("E-COLLECT") == says.startswith("E-")
        assert collector.end() == 0


def test_two_collectors_that_end_each_other_s_connection_say_why(tmp_path: Path) -> None:
    fleet = Authority(tmp_path / "fleet")
    pair = fleet.client(COLLECTOR)
    with needed(broker(tmp_path / "broker", fleet)) as started:
        section = BrokerSection(started.address, str(fleet.certificate), str(pair.certificate), str(pair.key))
        links = [open_link(section, name) for name in ("one", "two")]  # of two databases
        end = time.monotonic() + 120
        while not any("another collector has the same certificate" in one.trouble for one in links):
            assert time.monotonic() < end
            for one in links:
                one.turn(0.05)
