"""The collector's connection to the broker, in the loop of one thread.

PUBACK says only that a message need not come again. It is sent after the commit where that is possible, but nothing leans on
it: a device keeps a row until it sees our own acknowledgement.
"""

import ssl
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from limiar.edge_app.collect.receiver import Message
from limiar.edge_app.fleet.messages import LONGEST
from limiar.edge_app.service.backoff import Backoff

_KEEPALIVE_S = 30
_SESSION_S = 24 * 3600  # for which the broker keeps what comes while we are away
_UNACKED = 64  # messages that the broker sends before it waits for us: what we must hold while the database is away
_MOST = 4 * _UNACKED  # with those of QoS 0, which it does not count
_AT_ONCE, _HELD = 16 << 20, 128 << 20  # bytes of messages: that are gathered in a turn; that are held at most
_IN_FLIGHT = 1000  # of what we publish; the broker may allow fewer
_CONNECT_S = 5.0
_GOODBYE_S = 2.0
_BRIEF_S = 10.0  # of a connection that somebody else may have ended


class Received(NamedTuple):
    """A message, and how to say that it need not come again."""

    message: Message
    mid: int
    qos: int
    connection: int  # the how manieth it came by


class Link:
    """`turn` takes what comes into `received`; `connected` and `trouble` say how it is."""

    def __init__(
        self,
        host: str,
        port: int,
        root: str,
        identity: str,
        tls: ssl.SSLContext | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """identity: of the session that the broker keeps for us."""
        self.received: list[Received] = []
        self.connected = False  # and subscribed
        self.connections = 0
        self.trouble = ""  # why it is not connected; "" if there is no reason yet
        self.denied = ""  # the last topic that the broker refused
        self._address, self._root, self._identity, self._tls = (host, port), root, identity, tls
        self._now, self._backoff = now, Backoff(now)
        self._since, self._brief = now(), 0  # when it was connected, and how many connections in a row were brief
        self._bytes = 0  # of what was received
        self._topics: dict[int, str] = {}  # of what was published, by number
        self._client: Client | None = None

    def turn(self, wait_s: float) -> None:
        """Connects if it is time for that; waits for a message, at most so long; takes all that are there."""
        if self._client is None and self._backoff.due:
            self._connect()
        if self._client is None:
            time.sleep(wait_s)
            return
        before, start = len(self.received), self._bytes
        self._loop(wait_s)
        while before < len(self.received) < _MOST and self._bytes - start < _AT_ONCE:
            before = len(self.received)
            self._loop(0.0)
        if self._bytes > _HELD:
            self._lost("more has come than can be kept in memory, and the broker is asked for it again later")

    def publish(self, topic: str, payload: bytes) -> None:
        """Retained, at least once while this connection lasts; without one it is dropped: see run.py, which then says all."""
        if self._client and self.connected:
            self._topics[self._client.publish(topic, payload, qos=1, retain=True).mid] = topic

    def done(self, count: int) -> None:
        """The first ones need not come again."""
        received, self.received = self.received[:count], self.received[count:]
        self._bytes = sum(len(one.message.payload) for one in self.received)
        for one in received:
            if self._client and one.qos and one.connection == self.connections:
                self._client.ack(one.mid, one.qos)

    def close(self) -> None:
        """Says goodbye, once what was published has gone; the broker keeps the session."""
        end = time.monotonic() + _GOODBYE_S
        while self._client and self.connected and self._topics and time.monotonic() < end:
            self._loop(0.1)
        if self._client:
            self._client.disconnect()
            self._loop(0.1)

    def _loop(self, wait_s: float) -> None:
        if self._client and self._client.loop(wait_s) != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._ended("")

    def _connect(self) -> None:
        """With a new client: an old one would publish again what is no longer true."""
        self._backoff.started()
        client = Client(CallbackAPIVersion.VERSION2, self._identity, protocol=MQTTv5, manual_ack=True)
        client.connect_timeout = _CONNECT_S
        client.max_inflight_messages_set(_IN_FLIGHT)
        if self._tls:
            client.tls_set_context(self._tls)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_message, client.on_subscribe, client.on_publish = self._on_message, self._on_subscribe, self._on_publish
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = _SESSION_S
        properties.ReceiveMaximum = _UNACKED
        properties.MaximumPacketSize = 2 * LONGEST  # what is longer than LONGEST is named in the log; more does not even come
        self._client = client
        try:
            client.connect(*self._address, keepalive=_KEEPALIVE_S, clean_start=False, properties=properties)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            self._lost(_why(error))

    def _ended(self, code: str) -> None:
        """mosquitto 2.0 does not say that it ended a connection for another one with the same certificate."""
        if self.connected:
            self._brief = self._brief + 1 if self._now() - self._since < _BRIEF_S else 0
        twice = ", soon after it was made: perhaps another collector has the same certificate" if self._brief > 1 else ""
        self._lost(self.trouble or f"the connection was lost{code}{twice}")

    def _lost(self, why: str) -> None:
        if self._client is None:  # which is known already
            return
        client, self._client = self._client, None
        client.disconnect()
        self.connected = False
        self.trouble = why
        self._topics.clear()
        self.received, self._bytes = [], 0  # it comes again: by the broker, or by a device that sees no progress
        self._backoff.failed()

    def _on_connect(self, client: Client, _: object, flags: ConnectFlags, code: ReasonCode, given: Properties | None) -> None:
        if code.is_failure:
            self._lost(str(code))
            return
        self.connections += 1
        client.subscribe(f"{self._root}/+/up/#", options=SubscribeOptions(qos=1))

    def _on_subscribe(self, client: Client, _: object, mid: int, codes: list[ReasonCode], given: Properties | None) -> None:
        if codes[0].is_failure:
            self._lost(f"the broker does not let it read {self._root}/+/up/# ({codes[0]})")
            return
        self.connected, self.trouble, self._since = True, "", self._now()
        self._backoff = Backoff(self._now)

    def _on_disconnect(
        self, client: Client, _: object, flags: DisconnectFlags, code: ReasonCode, given: Properties | None
    ) -> None:
        self._ended(f" ({code})")

    def _on_message(self, client: Client, _: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # of no device
        taken = Message(topic, bytes(message.payload), bool(message.retain))
        self.received.append(Received(taken, message.mid, message.qos, self.connections))
        self._bytes += len(taken.payload)

    def _on_publish(self, client: Client, _: object, mid: int, code: ReasonCode, given: Any) -> None:
        topic = self._topics.pop(mid, "")
        if code.is_failure:
            self.denied = f"{topic} ({code})"


def _why(error: Exception) -> str:
    """For a person. An SSLError names the function that failed, and then what was wrong."""
    said = getattr(error, "verify_message", None) or getattr(error, "reason", None) or getattr(error, "strerror", None)
    kind = "certificate verify failed: " if isinstance(error, ssl.SSLCertVerificationError) else ""
    return f"{kind}{said or error}"
