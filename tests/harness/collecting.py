"""A running `limiar collect`, and a device that only speaks MQTT, for tests."""

import contextlib
from pathlib import Path
from typing import Any, Self

import msgspec
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from limiar.edge_app.collect.database import FleetDatabase, reading
from limiar.edge_app.collect.receiver import Message
from limiar.edge_app.fleet.messages import Acked
from running import RunningCommand

_ACKED = msgspec.json.Decoder(Acked)


class Collecting(RunningCommand):
    """`limiar collect` with its configuration and log in a folder."""

    def __init__(self, folder: Path, address: str, url: str, more: str = "", tls: str = "") -> None:
        """tls: further lines of [broker]. more: further tables."""
        self.config, self.url = folder / "collect.toml", url
        super().__init__(["collect", str(self.config)], folder / "collect.log")
        self.config.write_text(f'[broker]\naddress = "{address}"\n{tls}\n[database]\nurl = "{url}"\n{more}\n')

    def connected(self) -> Self:
        """Waits until it listens to devices, for the first time."""
        self.wait(lambda: self.says("I-COLLECT-CONNECTED"))
        return self

    def says(self, text: str) -> bool:
        """Whether its log has this text."""
        return text in self.log.read_text()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Of its database, beside it."""
        with FleetDatabase(self.url) as database, reading(database) as connection:
            return [tuple(one) for one in connection.exec_driver_sql(sql)]


class Speaker:
    """A device that sends what it is told to send, and remembers what was acknowledged. Use as a context manager."""

    def __init__(self, port: int, name: str = "one") -> None:
        self.acked: list[Acked] = []
        self._client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTv5)
        self._client.on_message = self._heard
        self._client.on_connect = lambda client, *_: client.subscribe(f"limiar/{name}/down/acked", qos=1)
        self._port = port

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, *messages: Message, retain: bool = False) -> None:
        """Waits until the broker has them."""
        for message in messages:
            info = self._client.publish(message.topic, message.payload, qos=1, retain=retain)
            with contextlib.suppress(RuntimeError):
                info.wait_for_publish(10)

    @property
    def last(self) -> Acked | None:
        """What was acknowledged last."""
        return self.acked[-1] if self.acked else None

    def _heard(self, client: Client, _: object, message: MQTTMessage) -> None:
        self.acked.append(_ACKED.decode(message.payload))
