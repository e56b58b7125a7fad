"""What a service says to systemd."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from limiar.edge_app.system import notify


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@limiar-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if name.startswith("@") else name)
        listener.settimeout(1.0)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        monkeypatch.setattr(notify, "_said_s", float("-inf"))
        yield listener


def test_ready_has_one_line_of_status(heard: socket.socket) -> None:
    notify.ready("lung\nnodule 1")
    assert heard.recv(1000) == b"READY=1\nSTATUS=lung nodule 1"


def test_reloading_has_the_time_of_a_clock_that_does_not_jump(heard: socket.socket) -> None:
    notify.reloading()
    first, second = heard.recv(1000).decode().splitlines()
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0


def test_the_watchdog_is_fed_once_however_often_it_is_called(heard: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    for _ in range(1000):
        notify.watchdog()
    notify.stopping()
    assert [heard.recv(1000), heard.recv(1000)] == [b"WATCHDOG=1", b"STOPPING=1"]


@pytest.mark.parametrize("pid", [None, "1"])
def test_a_watchdog_that_is_not_asked_for_or_is_another_processes_is_not_fed(
    heard: socket.socket, monkeypatch: pytest.MonkeyPatch, pid: str | None
) -> None:
    if pid:
        monkeypatch.setenv("WATCHDOG_PID", pid)
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    notify.watchdog()
    notify.stopping()
    assert heard.recv(1000) == b"STOPPING=1"


def test_without_systemd_nothing_is_said_and_nothing_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.ready("x")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify.ready("x")
