"""A device's uplink and a broker or collector that says what none of ours does."""

import io
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from broker import Broker, broker
from limiar.edge_app.control import SOCKET, Done
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.fleet.connection import Connection
from limiar.edge_app.fleet.outbox import ControlService
from limiar.edge_app.health.log import Log
from limiar.edge_app.service.config import FleetSection
from limiar.edge_app.system.local_socket import Listener
from needed import needed
from uplinks import Collector, Device, Running

CONNACK = b"\x20\x03\x00\x00\x00"


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Broker]:
    with needed(broker(tmp_path / "broker")) as started:
        yield started


@pytest.mark.parametrize("payload", [b'{"x":' + b"[" * 30_000, b"\xff", b"[]", b'{"sequence":-1}', b"x" * 3_000_000], ids=len)
def test_whatever_is_retained_for_a_device_it_goes_on_sending(plain: Broker, tmp_path: Path, payload: bytes) -> None:
    device = Device(tmp_path / "state")
    device.add(range(3))
    collector = Collector(plain.port)
    collector.say("d1", "desired", payload)
    collector.until(lambda: not collector.connection.waits("limiar/d1/down/desired"))
    collector.say("d1", "acked", payload)
    with Running(device, FleetSection(broker=plain.address, device="d1"), "d1") as running:
        collector.until(lambda: device.waiting == 0)
    collector.until(lambda: collector.online["d1"][-1] == b"false")
    assert collector.online["d1"] == [b"true", b"false"]  # one connection
    # What is far longer than anything a collector says does not even come.
    assert ("E-FLEET-MESSAGE" in running.log.getvalue()) == (len(payload) < 1_000_000)
    collector.close()


def test_two_clients_of_one_name_are_told_so(plain: Broker) -> None:
    first, second = (Connection(("127.0.0.1", plain.port), "d1", None, None, lambda *_: None) for _ in range(2))
    first.open()
    second.open()
    with pytest.raises(LimiarError, match=r"E-FLEET-TWICE|no other device has this one's certificate"):
        turned(first)
    second.close()


def turned(connection: Connection) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        connection.turn(0.05)


def test_nothing_is_said_to_be_sent_again_while_the_service_cannot_be_asked(tmp_path: Path) -> None:
    log = io.StringIO()
    assert not ControlService(tmp_path, Log(stream=log)).renew(bytes(16))
    assert log.getvalue() == ""
    with Listener(tmp_path / SOCKET, lambda _: msgspec.json.encode(Done())) as service:
        asked = threading.Thread(target=lambda: ControlService(tmp_path, Log(stream=log)).renew(bytes(16)))
        asked.start()
        while asked.is_alive():
            service.turn()
            asked.join(0.01)
    assert log.getvalue().count("W-FLEET-RENEWED") == 1


def used(connection: Connection) -> None:
    connection.open()
    turned(connection)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not an MQTT broker"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not an MQTT broker"),
        (CONNACK + b"\x30\x06\x00\x02\xff\xfe\x00x", "a topic that is not UTF-8"),
        (CONNACK + b"\x30\x04\x00\x90ab", "Protocol error"),
        (CONNACK + b"\xe0\x01\x55", "Protocol error"),
    ],
)
def test_what_is_no_broker_of_ours_is_said_and_ends_nothing(answer: bytes, said: str) -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = listening.accept()
        with client:
            client.recv(4096)
            client.sendall(answer)
            client.shutdown(socket.SHUT_WR)
            client.recv(4096)

    threading.Thread(target=serve, daemon=True).start()
    with listening, pytest.raises(LimiarError, match=said) as met:
        used(Connection(listening.getsockname(), "d1", None, None, lambda *_: None))
    assert met.value.code == "E-FLEET-CONNECT"
