"""A running `limiar collect`, and a device that only speaks MQTT, for tests."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import msgspec
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from limiar.edge_app.collect.database import FleetDatabase, reading
from limiar.edge_app.collect.receiver import Message
from limiar.edge_app.fleet.messages import Acked

_COMMAND = "from limiar.edge_app.cli import main; main()"
_ACKED = msgspec.json.Decoder(Acked)


class Collecting:
    """`limiar collect` with its configuration and log in a folder. Use as a context manager, or start and end it yourself."""

    def __init__(self, folder: Path, address: str, url: str, more: str = "", tls: str = "") -> None:
        """tls: further lines of [broker]. more: further tables."""
        self.config, self.log, self.url = folder / "collect.toml", folder / "collect.log", url
        self.config.write_text(f'[broker]\naddress = "{address}"\n{tls}\n[database]\nurl = "{url}"\n{more}\n')
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Starts it, without waiting."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.kill()

    def start(self) -> None:
        """Starts it, without waiting."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-P", "-c", _COMMAND, "collect", str(self.config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self.process
        return self.process.pid

    def kill(self) -> None:
        """Ends it as a power cut does."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ends it in order; returns its exit status."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(10)

    def wait(self, until: Callable[[], object], seconds: float = 30.0) -> None:
        """Waits until something is true. Raises AssertionError with the log if it does not become so, or the process ended."""
        end = time.monotonic() + seconds
        while not until():
            assert self.process
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log.read_text()}"
            assert time.monotonic() < end, self.log.read_text()[-4000:]
            time.sleep(0.02)

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
