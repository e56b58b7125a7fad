"""The socket on which a service answers commands."""

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from limiar.edge_app.system import clients
from limiar.edge_app.system.local_socket import Listener, ask


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """In a folder whose path is longer than the 108 bytes that a socket's may have."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    return folder / "control.sock"


@pytest.fixture
def listening(path: Path) -> Iterator[Path]:
    """A service that answers each question with itself, twice."""
    ended = threading.Event()

    def serve() -> None:
        with Listener(path, lambda question: question * 2) as listener:
            while not ended.wait(0.005):
                listener.turn()

    thread = threading.Thread(target=serve)
    thread.start()
    until(path.exists)
    yield path
    ended.set()
    thread.join()
    assert not path.exists()


def until(there: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not there():
        assert time.monotonic() < end
        time.sleep(0.005)


def connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    descriptor = os.open(path.parent, os.O_PATH)
    client.connect(f"/proc/self/fd/{descriptor}/{path.name}")
    os.close(descriptor)
    client.settimeout(10)
    return client


def test_a_question_is_answered(listening: Path) -> None:
    assert ask(listening, b"ab") == b"abab"
    assert ask(listening, b"x" * 100_000) == b"x" * 200_000


def test_a_socket_is_there_once_somebody_listens_and_that_of_a_killed_service_until_then(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    listen = socket.socket.listen

    def look_first(self: socket.socket, backlog: int) -> None:
        seen.append((path.exists(), ask(path, b"ab")))
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", look_first)
    with Listener(path, lambda question: question):
        killed = path.with_name("killed")
        killed.hardlink_to(path)
    killed.replace(path)
    with Listener(path, lambda question: question):
        assert os.listdir(path.parent) == [path.name]
    assert seen == [(False, None), (True, None)]
    assert os.listdir(path.parent) == []


def test_nobody_but_the_owner_may_connect(listening: Path) -> None:
    assert stat.S_IMODE(listening.stat().st_mode) == 0o600


def test_without_a_service_there_is_no_answer_and_a_socket_left_by_a_kill_is_none(path: Path) -> None:
    assert ask(path, b"ab") is None
    with socket.socket(socket.AF_UNIX) as left:
        descriptor = os.open(path.parent, os.O_PATH)
        left.bind(f"/proc/self/fd/{descriptor}/{path.name}")
        os.close(descriptor)
    assert ask(path, b"ab") is None
    with Listener(path, lambda question: question):
        pass


def test_a_client_that_says_nothing_or_too_much_keeps_nobody_out(listening: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "_CLIENT_S", 0.2)
    silent = [connected(listening) for _ in range(30)]  # more than are served at once
    assert ask(listening, b"ab") == b"abab"
    loud = connected(listening)
    with pytest.raises(ConnectionError):
        loud.sendall(b"x" * (10 << 20))
    for client in (*silent, loud):
        client.close()
    assert ask(listening, b"ab") == b"abab"


def test_a_client_that_hangs_up_before_its_answer_is_dropped(listening: Path) -> None:
    for _ in range(50):
        client = connected(listening)
        client.sendall(b"x" * 1000 + b"\n")
        client.close()
    assert ask(listening, b"ab") == b"abab"
