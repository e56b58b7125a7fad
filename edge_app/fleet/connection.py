"""One connection to a broker, by MQTT 5, without threads: under 3.1.1 a broker acknowledges what it refuses.

Nothing outlives it: what was on its way when it ended is sent again by who sent it.
"""

import re
import ssl
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from limiar.edge_app.errors import LimiarError, printable
from limiar.edge_app.fleet.messages import LONGEST
from limiar.edge_app.text import counted

KEEP_ALIVE_S = 30  # a broker or device that is gone is noticed after one to two of these
_CONNECT_S = 10.0
_GOODBYE_S = 1.0
_ON_THE_WAY = 4 << 20  # bytes that the broker has not acknowledged; images are large
_TAKEN_OVER = 0x8E
_REFUSED = re.compile(r"_ALERT_(\w*CERTIFICATE\w*|UNKNOWN_CA|ACCESS_DENIED)")  # as OpenSSL names what a server said
_NO_REASON = "Unspecified error"  # as paho has it
_BUSY = {0x88: "the broker is not available", 0x89: "the broker is busy", 0x97: "a quota is used up", 0x9F: "too many connect"}
_HEARD = Callable[[str, bytes, bool], None]


class Will(NamedTuple):
    """What the broker says if this end goes without a word. Retained."""

    topic: str
    payload: bytes


class Connection:
    """Use `open`, then `turn` often, then `close`."""

    def __init__(
        self,
        address: tuple[str, int],
        name: str,
        context: ssl.SSLContext | None,
        will: Will | None,
        heard: _HEARD,
        *,
        keep_alive_s: int = KEEP_ALIVE_S,
        most_bytes: int | None = None,
    ) -> None:
        """name: of the client. context: None without TLS. heard: gets topic, payload, and whether the broker had kept it.

        most_bytes: of a message; the broker keeps longer ones to itself.
        """
        self._address, self._keep_alive_s, self._tls = address, keep_alive_s, context is not None
        self._properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        if most_bytes:
            self._properties.MaximumPacketSize = most_bytes
        self._hears = heard
        self._where = f"{address[0]}:{address[1]}"
        self.longest = LONGEST  # bytes of a message that the broker takes
        self.denied: set[str] = set()  # topics that the broker refuses
        self._open: bool | None = None  # None: the broker has not answered yet
        self._over: LimiarError | None = None  # why it ended
        self._said = ""  # the last error that paho noted
        self._on_the_way: dict[int, tuple[str, int]] = {}  # by number: topic and bytes
        self._subscribed: dict[int, Sequence[str]] = {}
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5, reconnect_on_failure=False
        )
        client.connect_timeout = _CONNECT_S
        if context:
            client.tls_set_context(context)
        if will:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_message = self._heard
        client.on_publish = self._published
        client.on_subscribe = self._answered
        client.on_log = self._noted

    def open(self) -> None:
        """Raises LimiarError: E-FLEET-CONNECT, E-FLEET-TLS, E-FLEET-DENIED."""
        try:
            self._client.connect(*self._address, keepalive=self._keep_alive_s, clean_start=True, properties=self._properties)
        except ssl.SSLCertVerificationError as error:
            met = f"{self._where} shows a certificate that is not trusted ({error.verify_message})"
            raise LimiarError("E-FLEET-TLS", f"{met}: check `broker`, `authority` and the clock") from None
        except ssl.SSLError as error:
            raise self._no_tls(str(error.reason or error)) from None
        except (OSError, ValueError) as error:  # ValueError: a name that no host can have
            raise self._no_connection(getattr(error, "strerror", None) or str(error)) from None
        until = time.monotonic() + _CONNECT_S
        while self._open is None:
            self.turn(0.1)
            if time.monotonic() > until:
                raise self._no_connection("it does not answer")

    @property
    def ready(self) -> bool:
        """Whether it takes another message with rows."""
        return sum(size for _, size in self._on_the_way.values()) < _ON_THE_WAY

    def waits(self, topic: str) -> bool:
        """Whether the broker has not acknowledged a message on this topic."""
        return any(topic == one for one, _ in self._on_the_way.values())

    def subscribe(self, topics: Sequence[str]) -> None:
        """Hears these topics, QoS 1."""
        code, number = self._client.subscribe([(topic, 1) for topic in topics])
        if code == MQTTErrorCode.MQTT_ERR_SUCCESS and number is not None:
            self._subscribed[number] = topics

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Sends, QoS 1; whether it is on its way."""
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if taken := info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._on_the_way[info.mid] = (topic, len(payload))
        return taken

    def turn(self, wait_s: float) -> None:
        """Waits for the network for so long at most. Raises LimiarError if the connection is over; then it cannot be used."""
        code = self._client.loop(wait_s)
        if self._over:
            raise self._over
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise self._ended(mqtt.error_string(code))

    def close(self, last: Will | None = None) -> None:
        """Says goodbye, with a last message, and waits a moment for the broker to have it."""
        try:
            if self._open and last and self.publish(last.topic, last.payload, retain=True):
                until = time.monotonic() + _GOODBYE_S
                while self._on_the_way and time.monotonic() < until:
                    self.turn(0.05)
            self._client.disconnect()
        except LimiarError:
            pass  # the broker says the last word
        finally:
            self.drop()

    def drop(self) -> None:
        """Ends it without a word."""
        if (socket := self._client.socket()) is not None:
            socket.close()

    def _connected(
        self, _client: mqtt.Client, _data: object, _flags: object, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._open = not reason.is_failure
        if reason.is_failure:
            self._over = self._refused(reason)
        elif (largest := getattr(properties, "MaximumPacketSize", None)) is not None:
            self.longest = min(LONGEST, int(largest))

    def _refused(self, reason: ReasonCode) -> LimiarError:
        if reason.value in _BUSY:
            return self._no_connection(_BUSY[reason.value])
        if reason.value == 0x84:
            return self._no_connection("it does not speak MQTT 5")
        met = f"{self._where} refuses this client ({reason})"
        return LimiarError("E-FLEET-DENIED", f"{met}: check its certificate and the broker's list of users")

    def _disconnected(
        self, _client: mqtt.Client, _data: object, flags: mqtt.DisconnectFlags, reason: ReasonCode, _: object
    ) -> None:
        if self._over is None and flags.is_disconnect_packet_from_server and reason.value == _TAKEN_OVER:
            met = f"another client with the same name has connected to {self._where}"
            self._over = LimiarError("E-FLEET-TWICE", f"{met}: give each device a certificate of its own")
        elif self._over is None:
            self._over = self._ended(str(reason))

    def _heard(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._over = self._no_connection("it sends a topic that is not UTF-8")
        else:
            self._hears(topic, bytes(message.payload), message.retain)

    def _published(self, _client: mqtt.Client, _data: object, number: int, reason: ReasonCode, _: object) -> None:
        topic, _size = self._on_the_way.pop(number, ("", 0))
        if reason.is_failure:
            self.denied.add(topic)
        else:
            self.denied.discard(topic)

    def _answered(self, _client: mqtt.Client, _data: object, number: int, reasons: list[ReasonCode], _: object) -> None:
        for topic, reason in zip(self._subscribed.pop(number, ()), reasons, strict=False):
            if reason.is_failure:
                self.denied.add(topic)

    def _noted(self, _client: mqtt.Client, _data: object, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            self._said = text

    def _ended(self, why: str) -> LimiarError:
        if "SSL" in self._said and self._open is None:  # with TLS 1.3, a server says so after the handshake
            return self._no_tls(self._said)
        if self._open is None:
            why = "does not take this end's certificate" if self._tls else "speaks TLS alone"
            return self._no_connection(
                f"it ended the connection before it answered; perhaps it {why}, or is not an MQTT broker"
            )
        if why == _NO_REASON and (not self._said or "EOF" in self._said):
            # mosquitto 2.0.11 says nothing to a client whose name another one takes.
            met = "the broker ended the connection without a reason"
            return self._no_connection(
                met, "the broker, the network, and that no other device has this one's certificate or name"
            )
        return self._no_connection(f"the connection ended: {self._said or why}")

    def _no_tls(self, why: str) -> LimiarError:
        if alert := _REFUSED.search(why):
            met = f"{self._where} refuses this end's certificate ({alert[1].lower().replace('_', ' ')})"
            return LimiarError("E-FLEET-TLS", f"{met}: give it one that is valid now, of an authority that the broker trusts")
        met = f"{self._where} and this end do not agree on TLS ({printable(why)})"
        return LimiarError(
            "E-FLEET-TLS", f"{met}: TLS 1.3 is needed, and certificates of the same authority that are valid now"
        )

    def _no_connection(self, why: str, check: str = "the broker and the network") -> LimiarError:
        return LimiarError("E-FLEET-CONNECT", f"{self._where}: {printable(why)}: it is tried again; check {check}")


def denied_message(topics: set[str]) -> str:
    """For the log."""
    some = ", ".join(sorted(topics))
    return (
        f"the broker refuses {counted(len(topics), 'topic')} ({some}): allow them in its access list, as docs/fleet.md has it"
    )
