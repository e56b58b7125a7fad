"""`limiar collect`: from the broker into the database, until SIGTERM or Ctrl-C."""

import contextlib
import hashlib
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError

from limiar.edge_app import exit_status
from limiar.edge_app.collect.columns import WrongMessage
from limiar.edge_app.collect.config import BrokerSection, CollectConfig
from limiar.edge_app.collect.database import FleetDatabase, errors_named
from limiar.edge_app.collect.link import Link, Received
from limiar.edge_app.collect.receiver import Message, Receiver, all_acked
from limiar.edge_app.collect.rollouts import RollOuts
from limiar.edge_app.errors import StoreError
from limiar.edge_app.fleet.messages import Acked
from limiar.edge_app.fleet.tls import client_context
from limiar.edge_app.fleet.topics import down, sender
from limiar.edge_app.health.log import Log
from limiar.edge_app.system.interrupt import Interrupt

_TURN_S = 0.2  # of waiting for messages; SIGTERM is seen then
_RETRY_S = 1.0  # after the database failed
_ROLL_OUT_S = 1.0  # between two looks at roll-outs
_ENCODE = msgspec.json.Encoder().encode
_OF_THE_MESSAGE = (DataError, IntegrityError, OverflowError, UnicodeError)  # it would fail again and again


def run_collector(config: CollectConfig) -> int:
    """Returns the exit status. Raises LimiarError: what is needed from the start cannot be used."""
    log = Log(config.log.level)
    with FleetDatabase(config.database.url, make=True) as database, Interrupt() as interrupt:
        link = open_link(config.broker, identity(config))
        with Collector(config, database, link, log) as collector:
            log.info("I-COLLECT-START", f"collecting from {config.broker.address} into {database.where}")
            while not interrupt:
                collector.turn(_TURN_S)
    return exit_status.INTERRUPTED if interrupt.signal == signal.SIGINT else 0


def open_link(broker: BrokerSection, name: str) -> Link:
    """Raises LimiarError: a certificate cannot be used."""
    tls = client_context(broker.authority, broker.certificate, broker.key) if broker.authority else None
    return Link(broker.host, broker.port, broker.topic, name, tls)


def identity(config: CollectConfig) -> str:
    """Of the collector of this database: the broker keeps its session under it."""
    both = f"{config.database.url} {config.broker.topic}"
    return f"limiar-collect-{hashlib.sha256(both.encode()).hexdigest()[:12]}"


class Collector:
    """Takes turns. Use as a context manager; entering it raises StoreError if the database cannot be used now."""

    def __init__(self, config: CollectConfig, database: FleetDatabase, link: Link, log: Log) -> None:
        self._database, self._link, self._log = database, link, log
        self._root = config.broker.topic
        images = Path(config.images.folder) if config.images.folder else None
        self._receiver = Receiver(root=self._root, images=images)
        self._retry_at = 0.0
        self._held = contextlib.ExitStack()
        self._connection: Connection | None = None
        self._rollouts = RollOuts(log)
        self._rollouts_due = 0.0
        self._greeted = 0  # the connection to the broker on which all was said

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()
        self._close()

    def turn(self, wait_s: float) -> None:
        """Waits for messages, commits what came, and then says so."""
        self._link.turn(wait_s)
        self._report()
        if time.monotonic() < self._retry_at:
            return  # what has come stays in memory, and the broker sends no more than a little
        try:
            with errors_named(self._database.where):
                self._work(self._open())
        except (StoreError, OSError) as error:
            self._failed(error)
        else:
            self._log.over("database", f"{self._database.where} can be used again")

    def _work(self, connection: Connection) -> None:
        received = tuple(self._link.received)
        acks = self._committed(connection, received)
        self._database.check_same()
        self._link.done(len(received))
        if self._link.connected and self._greeted != self._link.connections:
            with connection.begin():
                acks = all_acked(connection)  # these are among them
            if not self._greeted:
                self._log.info("I-COLLECT-CONNECTED", "the broker is there, and devices learn what is kept")
            self._greeted = self._link.connections
            self._rollouts.forget()
        for device, acked in acks:
            self._link.publish(down(device, "acked", self._root), _ENCODE(acked))
        if self._link.connected and time.monotonic() >= self._rollouts_due:
            self._rollouts_due = time.monotonic() + _ROLL_OUT_S
            self._roll_out(connection)

    def _roll_out(self, connection: Connection) -> None:
        """Decides who shall have which bundle now, commits that, and tells them."""
        with connection.begin():
            changed = self._rollouts.turn(connection)
        for device, desired in changed.items():
            self._link.publish(down(device, "desired", self._root), _ENCODE(desired) if desired else b"")
        self._rollouts.told(changed)

    def _committed(self, connection: Connection, received: Sequence[Received]) -> list[tuple[str, Acked]]:
        """What is to be acknowledged, once all of it is committed. Raises SQLAlchemyError, OSError: nothing is."""
        if not received:
            return []
        try:
            with connection.begin():
                return self._take(connection, received)
        except _OF_THE_MESSAGE as error:
            if len(received) > 1:
                return [acked for one in received for acked in self._committed(connection, (one,))]
            self._wrong(WrongMessage(name_in(received[0].message, self._root), f"the database refuses it: {error}"))
            return []

    def _take(self, connection: Connection, received: Sequence[Received]) -> list[tuple[str, Acked]]:
        found: dict[tuple[str, str], Acked] = {}
        for one in received:
            device = name_in(one.message, self._root)
            try:
                acked = self._receiver.take(connection, one.message)
            except WrongMessage as wrong:
                self._wrong(wrong)
                continue
            self._log.over(f"message {device}", f"messages of {device} can be used again")
            if acked:
                found.pop((device, acked.store), None)  # the store that it spoke of last is the last that is acknowledged
                found[device, acked.store] = acked
        return [(device, acked) for (device, _), acked in found.items()]

    def _open(self) -> Connection:
        """Raises StoreError."""
        if self._connection is None:
            self._connection = self._held.enter_context(self._database.held())
        return self._connection

    def _close(self) -> None:
        self._connection = None
        with contextlib.suppress(StoreError):  # it is gone already
            self._held.close()

    def _failed(self, error: StoreError | OSError) -> None:
        self._close()
        self._greeted = -1  # it may come back as an older copy: then all is said again
        self._retry_at = time.monotonic() + _RETRY_S
        code, met = (error.code, error.message) if isinstance(error, StoreError) else ("E-COLLECT-IMAGES", str(error))
        self._log.state("database", "error", code, f"{met}; nothing is acknowledged meanwhile, and devices keep their rows")

    def _wrong(self, wrong: WrongMessage) -> None:
        who = f"{wrong.device}: " if wrong.device else ""
        self._log.state(f"message {wrong.device}", "error", "E-COLLECT-MESSAGE", f"{who}dropped a message: {wrong.met}")

    def _report(self) -> None:
        """Says how the connection to the broker is."""
        link = self._link
        if link.connected:
            self._log.over("broker", "the broker is there again")
        elif link.trouble:
            self._log.state("broker", "error", "E-COLLECT-BROKER", f"no connection to the broker: {link.trouble}")
        if link.denied:
            met = f"the broker refuses {link.denied}: let this collector write there in the broker's ACL"
            self._log.state("denied", "error", "E-COLLECT-DENIED", met)
            link.denied = ""


def name_in(message: Message, root: str) -> str:
    """Of the device that a topic names; "" if it names none."""
    found = sender(message.topic, root)
    return found[0] if found else ""
