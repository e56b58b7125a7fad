"""A device with a store and its uplink, and a collector that only counts, for the tests of uplinks."""

import io
import os
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import msgspec

from limiar.edge_app.answer import Answer, Timing
from limiar.edge_app.fleet.connection import Connection
from limiar.edge_app.fleet.messages import NO_MARK, Acked, Row, Rows
from limiar.edge_app.fleet.outbox import StoreOutbox, pictures
from limiar.edge_app.fleet.topics import Down, down, sender
from limiar.edge_app.fleet.uplink import Pulls, Uplink
from limiar.edge_app.health.log import Log
from limiar.edge_app.health.status import ClockStatus, Status
from limiar.edge_app.service.config import FleetSection
from limiar.edge_app.store.outgoing import uplink_of
from limiar.edge_app.store.reader import Reader
from limiar.edge_app.store.writer import BundleKey, Refusal, Store

KEY = BundleKey("ab" * 32, "tiny", "1.0.0", "tflite_int8", "litert 2.3.0", ("neg", "pos"))
STATUS = Status(running=True, app="limiar 0", clock=ClockStatus(trusted=True, why="NTP"))


def answer(label: str = "pos", decision: str | None = None) -> Answer:
    shares = {name: 0.9 if name == label else 0.1 for name in KEY.labels}
    return Answer(decision or label, label, 0.9, shares, Timing(0.1, 0.2, 0.3), "2026-01-01T00:00:00.000Z", "limiar 0")


class Device:
    """A store in STATE/results.db, which is changed in the thread that calls, and asked by the uplink's as a service is."""

    def __init__(self, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.state, self.path, self._lock = state, state / "results.db", threading.Lock()
        self.status: Status | None = STATUS
        with self.store() as store:
            store.outbox.use(True)

    def store(self) -> Store:
        """Open for writing."""
        store = Store(self.path)
        store.use(KEY, "bundle")
        return store

    def add(self, numbers: range, label: str = "pos") -> None:
        """Answers of these images, replaced if they are there."""
        with self._lock, self.store() as store:
            for number in numbers:
                store.add(number.to_bytes(32, "big"), f"{number}.png".encode(), answer(label))

    def refuse(self) -> None:
        with self._lock, self.store() as store:
            store.refuse(Refusal("inbox", b"bad.png", os.urandom(8), None, "E-IMAGE-BROKEN", "bad.png is broken", 0))

    def review(self, entry: int, label: str) -> None:
        with self._lock, self.store() as store:
            store.review(entry, label, "Ana", "a vessel")

    def delivered(self, store: bytes, sequence: int) -> bool:
        with self._lock, self.store() as opened:
            opened.outbox.delivered(store, sequence)
        return True

    def renew(self, store: bytes) -> bool:
        with self._lock, self.store() as opened:
            opened.outbox.renew(store)
        return True

    def asked(self) -> Status | None:
        return self.status

    @property
    def waiting(self) -> int:
        """Rows that it has not forgotten."""
        with Reader(self.path) as reader:
            uplink = uplink_of(reader)
        assert uplink
        return uplink.waiting


class _Service:
    def __init__(self, device: Device) -> None:
        self.delivered, self.renew, self.status = device.delivered, device.renew, device.asked


class Running:
    """An uplink in a thread. Use as a context manager."""

    def __init__(
        self,
        device: Device,
        fleet: FleetSection,
        name: str,
        *,
        context: Callable[[], ssl.SSLContext] | None = None,
        pulls: Pulls | None = None,
        retry_s: float = 1.0,
        wall_s: Callable[[], float] = time.time,
        moved_to: tuple[str, ...] = (),
        tell: Callable[[str, str], bool] = lambda _code, _message: True,
    ) -> None:
        self.log = io.StringIO()
        picture = pictures(device.state, moved_to, fleet.images, int(fleet.image_megabytes * 1e6))
        outbox = StoreOutbox(device.path, paths=fleet.paths, picture=picture)
        self.uplink = Uplink(
            fleet,
            name,
            outbox,
            _Service(device),
            Log(stream=self.log),
            context=context,
            pulls=pulls,
            wall_s=wall_s,
            poll_s=0.05,
            retry_s=retry_s,
            tell=tell,
        )
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self.uplink.run, args=(self._ends.is_set,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


class Collector:
    """What has come, and by its own count: it acknowledges if it is told to."""

    def __init__(self, port: int, *, context: ssl.SSLContext | None = None, name: str = "collector", acks: bool = True) -> None:
        self.rows: dict[tuple[str, str], Row] = {}  # by device and key
        self.committed: dict[tuple[str, str], tuple[int, str]] = {}  # by device and store
        self.statuses: dict[str, list[bytes]] = {}
        self.online: dict[str, list[bytes]] = {}
        self.messages: list[Rows] = []
        self.acks, self.context = acks, context
        self._out: list[tuple[str, bytes]] = []
        self.connection = Connection(("127.0.0.1", port), name, context, None, self._heard)
        self.connection.open()
        self.connection.subscribe(["limiar/+/up/#"])

    def until(self, met: Callable[[], object], seconds: float = 120.0) -> None:
        """Works until something is so."""
        end = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < end, (self.committed, len(self.rows), self.online)
            self.work()

    def work(self, wait_s: float = 0.02) -> None:
        self.connection.turn(wait_s)
        out, self._out = self._out, []
        for topic, payload in out:
            self.connection.publish(topic, payload, retain=True)

    def say(self, device: str, what: Down, payload: bytes) -> None:
        """A retained message to a device."""
        self._out.append((down(device, what), payload))

    def close(self) -> None:
        self.connection.close()

    def _heard(self, topic: str, payload: bytes, retained: bool) -> None:
        found = sender(topic)
        assert found, topic
        device, what = found
        if what != "rows":
            {"status": self.statuses, "online": self.online}[what].setdefault(device, []).append(payload)
            return
        rows = msgspec.json.decode(payload, type=Rows)
        self.messages.append(rows)
        if self.acks:
            self.say(device, "acked", msgspec.json.encode(self.take(device, rows)))

    def take(self, device: str, rows: Rows) -> Acked:
        """Takes what follows."""
        committed, mark = self.committed.get((device, rows.store), (0, NO_MARK))
        gap = False
        for row in rows.rows:
            if row.sequence == committed + 1:
                committed, mark = row.sequence, row.mark
                self.rows[device, row.key] = row
            elif row.sequence > committed:
                gap = True
        self.committed[device, rows.store] = committed, mark
        return Acked(store=rows.store, sequence=committed, mark=mark, gap=gap)
