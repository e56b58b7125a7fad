#!/usr/bin/env python3
"""Devices of a fleet in one process: real stores that grow at a rate, and their real uplinks. The campaigns of fleets start it.

    tests/harness/fleet_writer.py FOLDER PORT --names a,b --rows 6000 --rate 25 [--era 0] [--control]

A store gets answers, and now and then a refusal, a review, or another answer to an image that it has. Each is committed at
once. The process ends only when it is killed; started again, it goes on where the stores are. At SIGTERM it writes what it
measured to FOLDER/NAME.lags: seconds from each commit until the device knew that the collector has the row.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import functools
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from paho.mqtt.client import Client
from paho.mqtt.reasoncodes import ReasonCode

from limiar.edge_app.fleet import uplink
from limiar.edge_app.fleet.connection import Connection
from limiar.edge_app.fleet.messages import Rows
from limiar.edge_app.fleet.outbox import StoreOutbox
from limiar.edge_app.fleet.tls import client_context
from limiar.edge_app.health.log import Log
from limiar.edge_app.health.status import Status
from limiar.edge_app.service.config import FleetSection
from limiar.edge_app.store.writer import Refusal, Store
from uplinks import KEY, STATUS, answer

ERA = 10_000_000  # images of a store that replaced another are others
_ROWS = msgspec.json.Decoder(Rows)


class Writer:
    """A store, and who may change it: one thread alone."""

    def __init__(self, state: Path, rows: int, rate: float, era: int, rng: random.Random) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.path, self._store = state / "results.db", Store(state / "results.db")
        self._store.use(KEY, "bundle")
        self._store.outbox.use(True)
        self._store.commit()
        self._count, self._rows, self._rate, self._era, self._rng = self._store.sequence, rows, rate, era, rng
        self._next_at = time.monotonic() + rng.random() / rate
        self._committed: dict[int, float] = {}  # when, by sequence
        self.lags: list[float] = []

    def write(self) -> None:
        """What is due by now."""
        now = time.monotonic()
        while self._count < self._rows and self._next_at <= now:
            self._one()
            self._count = self._store.sequence
            self._next_at += 1 / self._rate
        if self._store.changed:
            self._store.commit()
            self._note()

    def _note(self) -> None:
        found = self._store.outbox.uplink()
        assert found
        at = time.monotonic()
        for sequence in range(max(self._committed, default=found.acked) + 1, found.newest + 1):
            self._committed[sequence] = at

    def _one(self) -> None:
        number, chance = self._era * ERA + self._count + 1, self._rng.random()
        if chance < 0.02:
            self._store.refuse(Refusal("inbox", f"{number}.png".encode(), os.urandom(8), None, "E-IMAGE-BROKEN", "broken", 0))
            return
        if chance < 0.04 and self._newest_file is not None:
            self._store.review(self._newest_file, "neg", "Ana", "a vessel")
            return
        if chance < 0.06 and self._newest_file is not None:
            self._store.add(self._image, b"again.png", answer("neg"))
            return
        self._image = number.to_bytes(32, "big")
        self._store.add(self._image, f"{number}.png".encode(), answer())
        self._newest_file = self._store.sequence

    _newest_file: int | None = None
    _image: bytes = b""

    def delivered(self, store: bytes, sequence: int) -> bool:
        self._store.outbox.delivered(store, sequence)
        self._store.commit()
        at = time.monotonic()
        for one in [one for one in self._committed if one <= sequence]:
            self.lags.append(at - self._committed.pop(one))
        return True

    def renew(self, store: bytes) -> bool:
        self._store.outbox.renew(store)
        self._store.commit()
        self._committed.clear()
        return True

    def status(self) -> Status | None:
        return STATUS

    def close(self) -> None:
        self._store.__exit__(None)


class Trusting(Connection):
    """The control: what the broker has acknowledged is forgotten, as if it were kept."""

    writer: Writer  # set by who uses it

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        before = set(self._on_the_way)
        taken = super().publish(topic, payload, retain=retain)
        if topic.endswith("/rows"):
            self._rows = getattr(self, "_rows", {}) | dict.fromkeys(set(self._on_the_way) - before, payload)
        return taken

    def _published(self, client: Client, data: object, number: int, reason: ReasonCode, more: object) -> None:
        super()._published(client, data, number, reason, more)
        payload = getattr(self, "_rows", {}).pop(number, None)
        if payload and not reason.is_failure and (rows := _ROWS.decode(payload)).rows:
            self.writer.delivered(bytes.fromhex(rows.store), rows.rows[-1].sequence)


def device(folder: Path, name: str, asked: argparse.Namespace, ends: threading.Event) -> None:
    """Runs one until it is told to end."""
    state = folder / name
    writer = Writer(state, asked.rows, asked.rate, asked.era, random.Random(f"{asked.seed} {name} {asked.era}"))
    fleet = FleetSection(broker=f"127.0.0.1:{asked.port}", device=name, status_s=asked.status_s, groups=("all",))
    context = None
    if asked.certificates:
        files = tuple(str(asked.certificates / one) for one in ("authority.pem", f"{name}.pem", f"{name}.key"))
        fleet = msgspec.structs.replace(fleet, authority=files[0], certificate=files[1], key=files[2])
        context = functools.partial(client_context, *files)
    with (folder / f"{name}.log").open("a", buffering=1) as log:
        running = uplink.Uplink(
            fleet,
            name,
            StoreOutbox(writer.path),
            writer,
            Log(stream=log),
            context=context,
            poll_s=asked.poll_s,
            retry_s=asked.retry_s,
        )
        if asked.control:
            trust(running, writer)
        running.run(stopping(writer.write, ends))
    writer.close()
    (folder / f"{name}.lags").write_text(json.dumps(writer.lags))


def stopping(write: Callable[[], None], ends: threading.Event) -> Callable[[], bool]:
    """An uplink asks it in each turn, and so the store grows in the uplink's own thread."""

    def stop() -> bool:
        write()
        return ends.is_set()

    return stop


def trust(running: uplink.Uplink, writer: Writer) -> None:
    """Makes it the control: it believes the broker, and does not hear the collector."""
    Trusting.writer = writer  # a control has one device in a process
    vars(uplink)["Connection"] = Trusting
    running._sending.heard = lambda ack, retained: None  # type: ignore[method-assign]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("port", type=int)
    options.add_argument("--names", required=True, help="with a comma between them")
    options.add_argument("--rows", type=int, required=True, help="entries of a store at the end")
    options.add_argument("--rate", type=float, required=True, help="entries a second")
    options.add_argument("--era", type=int, default=0, help="number of the store, if it replaces another")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--status-s", type=float, default=10.0)
    options.add_argument("--poll-s", type=float, default=0.1)
    options.add_argument("--retry-s", type=float, default=3.0, help="without progress, until rows are sent again")
    options.add_argument("--certificates", type=Path, help="a folder of tests/harness/authority.py, for TLS")
    options.add_argument("--control", action="store_true", help="forget what the broker has acknowledged")
    asked = options.parse_args()
    ends = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ends.set())
    names = asked.names.split(",")
    threads = [threading.Thread(target=device, args=(asked.folder, name, asked, ends), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.2)
    sys.exit(0 if ends.is_set() else 1)


if __name__ == "__main__":
    main()
