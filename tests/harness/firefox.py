"""Debian's Firefox, by WebDriver BiDi over a socket: Playwright drives only a Firefox of its own, which is not to be had here.

https://w3c.github.io/webdriver-bidi, as far as the tests of the phone's page need it; frames as RFC 6455 has them.
"""

import base64
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from needed import Missing

_LISTENS = re.compile(rb"WebDriver BiDi listening on ws://127\.0\.0\.1:(\d+)")
_PATIENCE_S = 180.0  # a busy machine is no failure of the page
_TEXT, _LAST = 0x1, 0x80  # of a frame's first byte
_MASKED = 0x80  # of its second


class Firefox:
    """Use as a context manager: one tab. Raises Missing."""

    def __enter__(self) -> Self:
        found = shutil.which("firefox-esr") or shutil.which("firefox")
        if not found:
            raise Missing("firefox is not installed")
        self._profile = tempfile.mkdtemp(prefix="limiar-firefox-")
        self._said = Path(self._profile, "said")
        command = [found, "--headless", "--no-remote", "--profile", self._profile, "--remote-debugging-port", "0"]
        with self._said.open("wb") as said:
            self._process = subprocess.Popen([*command, "about:blank"], stdout=said, stderr=said)
        try:
            self._socket = _opened(self._port())
            self._count, self.faults = 0, list[str]()
            self.call("session.new", capabilities={})
            self.call("session.subscribe", events=["log.entryAdded"])
            self._tab: str = self.call("browsingContext.getTree")["contexts"][0]["context"]
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def goes(self, address: str) -> None:
        """Opens a page."""
        self.call("browsingContext.navigate", context=self._tab, url=address, wait="complete")

    def value(self, expression: str) -> Any:
        """What an expression gives, as JSON."""
        asked = f"JSON.stringify({expression})"
        found = self.call("script.evaluate", expression=asked, target={"context": self._tab}, awaitPromise=True)
        return json.loads(found["result"]["value"])

    def until(self, expression: str) -> None:
        """Waits until it is true."""
        end_s = time.monotonic() + _PATIENCE_S
        while not self.value(f"Boolean({expression})"):
            assert time.monotonic() < end_s, f"never: {expression}; {self.value('document.body.innerText')}"
            time.sleep(0.2)

    def chooses(self, selector: str, files: Sequence[Path]) -> None:
        """Gives files to an input."""
        found = self.call("browsingContext.locateNodes", context=self._tab, locator={"type": "css", "value": selector})
        element = {"sharedId": found["nodes"][0]["sharedId"]}
        self.call("input.setFiles", context=self._tab, element=element, files=[str(file) for file in files])

    def call(self, method: str, **params: Any) -> Any:
        """A command's result."""
        self._count += 1
        _send(self._socket, json.dumps({"id": self._count, "method": method, "params": params}).encode())
        while True:
            message = json.loads(_received(self._socket))
            if message.get("id") == self._count:
                assert "error" not in message, message
                return message["result"]
            if message.get("method") == "log.entryAdded" and message["params"]["level"] in ("error", "warn"):
                self.faults.append(str(message["params"]["text"]))

    def _port(self) -> int:
        end_s = time.monotonic() + _PATIENCE_S
        while not (found := _LISTENS.search(self._said.read_bytes())):
            assert self._process.poll() is None, self._said.read_bytes()[-500:]
            assert time.monotonic() < end_s, self._said.read_bytes()[-500:]
            time.sleep(0.1)
        return int(found[1])


def _opened(port: int) -> socket.socket:
    opened = socket.create_connection(("127.0.0.1", port), _PATIENCE_S)
    lines = ("GET /session HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade")
    key = base64.b64encode(os.urandom(16)).decode()
    opened.sendall("\r\n".join((*lines, f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "\r\n")).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += _exactly(opened, 1)
    assert b" 101 " in head, head
    return opened


def _send(to: socket.socket, data: bytes) -> None:
    size = len(data)
    if size < 126:
        length = bytes([_MASKED | size])
    elif size < 1 << 16:
        length = bytes([_MASKED | 126]) + struct.pack(">H", size)
    else:
        length = bytes([_MASKED | 127]) + struct.pack(">Q", size)
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
    to.sendall(bytes([_LAST | _TEXT]) + length + mask + masked)


def _received(of: socket.socket) -> bytes:
    """A whole message."""
    data = b""
    while True:
        first, second = _exactly(of, 2)
        size = second & 127
        if size >= 126:
            size = int.from_bytes(_exactly(of, 2 if size == 126 else 8))
        data += _exactly(of, size)
        if first & _LAST:
            return data


def _exactly(of: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = of.recv(count - len(data))
        assert more, "Firefox closed the connection"
        data += more
    return data
