"""A device's uplink: connected while it can be, it sends rows and status, and hears what the collector has and desires."""

import random
import ssl
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from limiar.edge_app.errors import LimiarError, StoreError
from limiar.edge_app.fleet import home_assistant
from limiar.edge_app.fleet.connection import Connection, Will, denied_message
from limiar.edge_app.fleet.messages import Acked, Desired, Pull, Rows, UplinkState
from limiar.edge_app.fleet.outbox import StoreOutbox
from limiar.edge_app.fleet.sending import LISTEN_S, RETRY_S, Forgetting, Sending
from limiar.edge_app.fleet.telling import Telling
from limiar.edge_app.fleet.tls import check_time
from limiar.edge_app.fleet.topics import down, up
from limiar.edge_app.fleet.troubles import Troubles
from limiar.edge_app.health.log import Log
from limiar.edge_app.health.status import Status
from limiar.edge_app.service.backoff import Backoff
from limiar.edge_app.service.config import FleetSection
from limiar.edge_app.system.clock import NOT_BEFORE_S

POLL_S = 0.2  # how often the store is looked at
_SILENT_S = 60.0  # of the collector, until the log says so
_MOST_HEARD = 64 << 10  # bytes of a message to this device; what a collector says has a few hundred
_JITTER_S = 1.0  # all devices of a fleet lose their broker at the same time
_ACKED, _DESIRED = msgspec.json.Decoder(Acked), msgspec.json.Decoder(Desired)


class Service(Forgetting, Protocol):
    """The service beside it."""

    def status(self) -> Status | None:
        """None: it does not answer now."""


class Pulls(Protocol):
    """What brings new bundles."""

    def desired(self, wanted: Desired | None) -> None:
        """The collector desires this of the device; None: nothing."""

    def turn(self) -> Pull | None:
        """Goes on, without waiting; how far it is."""

    def close(self) -> None:
        """Ends it."""


class NoPulls:
    """A device that takes no bundles from its fleet."""

    def desired(self, wanted: Desired | None) -> None:
        pass

    def turn(self) -> Pull | None:
        return None

    def close(self) -> None:
        pass


def now_s() -> float:
    """The wall clock."""
    return time.clock_gettime(time.CLOCK_REALTIME)


class Uplink:
    """Use `run`. It has no threads and takes no signals, so that a test may run many."""

    def __init__(
        self,
        fleet: FleetSection,
        name: str,
        outbox: StoreOutbox,
        service: Service,
        log: Log,
        *,
        context: Callable[[], ssl.SSLContext] | None = None,
        pulls: Pulls | None = None,
        wall_s: Callable[[], float] = now_s,
        rng: random.Random | None = None,
        poll_s: float = POLL_S,
        retry_s: float = RETRY_S,
        tell: Callable[[str, str], bool] = lambda _code, _message: True,
    ) -> None:
        """name: of the device. tell: gets what is wrong, a code and a message, "" and "" once it is well; whether it was heard.

        context: for each connection anew, since certificates are renewed; None without TLS.

        wall_s: the clock by which certificates are judged.
        """
        self._fleet, self._name, self._outbox, self._log = fleet, name, outbox, log
        self._context, self._pulls, self._wall_s, self._poll_s = context, pulls or NoPulls(), wall_s, poll_s
        self._rng = rng or random.Random()  # noqa: S311 no secret
        self._sending = Sending(outbox, service, self._send_rows, ready=self._ready, retry_s=retry_s)
        self._telling = Telling(service.status, fleet.status_s, paths=fleet.paths)
        self._connection: Connection | None = None
        self._clock_waiting = False
        self._tell_service, self._troubles = tell, Troubles(log)
        self._listening: float | None = None  # until when a retained desire may come

    def run(self, stop: Callable[[], bool]) -> None:
        """Until `stop` says so. Raises nothing that can be tried again."""
        backoff = Backoff()
        try:
            while not stop():
                if self._clock_wrong() or not backoff.due:
                    self._troubles.tell(self._tell_service)
                    self._pulls.turn()
                    time.sleep(self._poll_s)
                    continue
                backoff.started()
                try:
                    self._connected(stop)
                except LimiarError as error:
                    self._troubles.state("uplink", "warning", error.code, error.message)
                    self._troubles.tell(self._tell_service)  # at once: it may be over when the wait is
                    backoff.failed()
                    self._wait(stop, self._rng.random() * _JITTER_S)
        finally:
            self._pulls.close()

    def _wait(self, stop: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while not stop() and time.monotonic() < until:
            time.sleep(min(self._poll_s, seconds))

    def _clock_wrong(self) -> bool:
        """Whether certificates cannot be judged yet: a board without a clock starts in 1970."""
        self._clock_waiting = self._context is not None and self._wall_s() < NOT_BEFORE_S
        if self._clock_waiting:
            met = "the clock shows a time before this limiar was written, and certificates cannot be judged by it"
            self._troubles.state("uplink-clock", "warning", "W-FLEET-CLOCK", f"{met}: the uplink waits until the clock is set")
        else:
            self._troubles.over("uplink-clock", "the clock was set")
        return self._clock_waiting

    def _connected(self, stop: Callable[[], bool]) -> None:
        """One connection, from its beginning to its end. Raises LimiarError."""
        root = self._fleet.topic
        online = up(self._name, "online", root)
        context = self._context() if self._context else None
        if context:
            check_time(self._fleet.certificate, self._wall_s())
        last = Will(online, b"false")
        connection = Connection(self._fleet.address, self._name, context, last, self._heard, most_bytes=_MOST_HEARD)
        try:
            connection.open()
            self._connection = connection
            self._troubles.over("uplink", "connected again")
            self._outbox.longest = connection.longest
            connection.subscribe([down(self._name, "acked", root), down(self._name, "desired", root)])
            connection.publish(online, b"true", retain=True)
            if self._fleet.home_assistant:
                connection.publish(home_assistant.topic(self._name), home_assistant.discovery(self._name, root), retain=True)
            self._listening = time.monotonic() + LISTEN_S
            self._sending.connected()
            self._telling.again()
            while not stop():
                self._turn(connection)
        finally:
            self._connection = None
            self._sending.disconnected()
            connection.close(last)

    def _turn(self, connection: Connection) -> None:
        """Raises LimiarError: the connection is over."""
        self._troubles.tell(self._tell_service)
        more = self._rows()
        pull = self._pulls.turn()
        if self._listening is not None and time.monotonic() > self._listening:
            self._listening = None
            self._pulls.desired(None)
        self._tell(connection, pull)
        if connection.denied:
            self._troubles.state("uplink-denied", "error", "E-FLEET-DENIED", denied_message(connection.denied))
        else:
            self._troubles.over("uplink-denied", "the broker takes everything again")
        connection.turn(0.0 if more else self._poll_s)

    def _rows(self) -> bool:
        """Whether there is more to send at once."""
        try:
            more = self._sending.turn()
        except (StoreError, OSError) as error:
            code = getattr(error, "code", "E-STORE-READ")
            self._troubles.state(
                "uplink-store", "warning", code, f"what waits cannot be read: {getattr(error, 'message', error)}"
            )
            return False
        self._troubles.over("uplink-store", "what waits can be read")
        if self._sending.silent_s > _SILENT_S:
            met = f"the broker is reached, but no collector has acknowledged a row for {self._sending.silent_s:.0f} s"
            self._troubles.state(
                "uplink-silent", "warning", "W-FLEET-SILENT", f"{met}: look at `limiar collect`; nothing is lost"
            )
        elif self._sending.silent_s == 0:
            self._troubles.over("uplink-silent", "the collector answers")
        return more

    def _tell(self, connection: Connection, pull: Pull | None) -> None:
        topic = up(self._name, "status", self._fleet.topic)
        state = self._state(pull)
        message = None if connection.waits(topic) else self._telling.turn(state)
        if message and connection.publish(topic, message, retain=True):
            self._telling.sent(state)

    def _state(self, pull: Pull | None) -> UplinkState:
        uplink = self._sending.uplink
        return UplinkState(
            store=uplink.store.hex() if uplink else None,
            waiting=uplink.waiting if uplink else 0,
            sent=self._sending.sent,
            acked=uplink.acked if uplink else 0,
            clock_waiting=self._clock_waiting,
            groups=self._fleet.groups,
            desired=pull,
        )

    def _ready(self) -> bool:
        return self._connection is not None and self._connection.ready

    def _send_rows(self, rows: Rows) -> bool:
        topic = up(self._name, "rows", self._fleet.topic)
        return self._connection is not None and self._connection.publish(topic, msgspec.json.encode(rows))

    def _heard(self, topic: str, payload: bytes, retained: bool) -> None:
        try:
            if topic == down(self._name, "acked", self._fleet.topic):
                if payload:
                    self._sending.heard(_ACKED.decode(payload), retained)
            else:
                self._listening = None
                self._pulls.desired(_DESIRED.decode(payload) if payload else None)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            met = f"a message on {topic} cannot be read ({error})"
            self._log.warning("E-FLEET-MESSAGE", f"{met}: use the same limiar at both ends")
