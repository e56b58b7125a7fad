"""Metrics where Prometheus finds them: a textfile for node_exporter, or HTTP on this machine alone.

Both take their turns in the loop of the process that keeps the store, which waits for nobody: no threads, few clients, short
requests, and slow ones are dropped.
"""

import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

from limiar.edge_app.errors import LimiarError, OutputError, printable
from limiar.edge_app.health.prometheus import CONTENT_TYPE, prometheus_text
from limiar.edge_app.health.status import Status, failed
from limiar.edge_app.system.clients import Clients
from limiar.edge_app.system.files import write_whole

_TEXTFILE_S = 60.0  # Prometheus calls a metric stale after 5 minutes, and an SD card wears out
_FRESH_S = 1.0  # a status is made at most so often, however often it is asked for
_CLIENTS = 8  # at once; another one waits in the kernel's queue
_LONGEST = 8 << 10  # bytes of a request
_REQUEST = re.compile(rb"(GET|HEAD) ([!-~]{1,200}) HTTP/1\.[01]\r\n")
_LISTEN = re.compile(r"(localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]):([0-9]{1,5})")
_HOST = re.compile(rb"\r\nHost:[ \t]*(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?[ \t]*\r\n", re.IGNORECASE)


class Textfile:
    """A file that node_exporter reads (--collector.textfile.directory)."""

    def __init__(self, path: Path, status: Callable[[], Status], now: Callable[[], float] = time.monotonic) -> None:
        """Raises LimiarError E-CONFIG-TEXTFILE: node_exporter reads only files named *.prom."""
        if path.suffix != ".prom":
            met = f"{printable(str(path))} is not named like a file of node_exporter"
            raise LimiarError("E-CONFIG-TEXTFILE", f"{met}: give health.textfile a name that ends in .prom")
        self._path, self._status, self._now = path, status, now
        self._due = now()

    def turn(self) -> bool:
        """Writes it once a minute; returns whether it did. Raises OutputError, with which the service goes on."""
        if self._now() < self._due:
            return False
        self._due = self._now() + _TEXTFILE_S
        try:
            write_whole(self._path, prometheus_text(self._status()), durable=False)  # it is written again after a power cut
        except OSError as error:
            met = f"{printable(str(self._path))}: {error.strerror}"
            raise OutputError("E-OUTPUT-WRITE", f"{met}: give health.textfile a folder that can be written") from None
        return True


class Exporter:
    """Serves /metrics and /healthz over HTTP on loopback. Use as a context manager: leaving closes it."""

    def __init__(self, listen: str, status: Callable[[], Status], now: Callable[[], float] = time.monotonic) -> None:
        """listen: "127.0.0.1:9464" or "[::1]:9464". Raises LimiarError E-CONFIG-LISTEN: not on loopback, or taken."""
        self._status, self._now = status, now
        self._made: tuple[float, Status] | None = None
        address = loopback(listen)
        self._socket = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.setblocking(False)
            self._socket.bind(address)
            self._socket.listen(_CLIENTS)
        except OSError as error:
            self._socket.close()
            met = f"{listen}: {error.strerror}"
            raise LimiarError("E-CONFIG-LISTEN", f"{met}: give health.listen a free port of this machine") from None
        self._clients = Clients(
            self._socket, most=_CLIENTS, longest=_LONGEST, ends=b"\r\n\r\n", answer=self._answer, now=self._now
        )

    def __enter__(self) -> "Exporter":
        return self

    def __exit__(self, *_: object) -> None:
        self._clients.close()
        self._socket.close()

    @property
    def port(self) -> int:
        """The port, also if it was 0 for any free one."""
        return int(self._socket.getsockname()[1])

    def turn(self) -> None:
        """Takes what has come and sends what is due; waits for nobody. Raises nothing."""
        self._clients.turn()

    def _answer(self, head: bytes) -> bytes:
        """The whole response to the head of a request."""
        request = _REQUEST.match(head)
        if not request:
            return _response("400 Bad Request", b"GET /metrics or /healthz\n")
        if not _HOST.search(head):  # a page elsewhere whose name was made to lead here (DNS rebinding)
            return _response("403 Forbidden", b"only under this machine's own name: localhost\n")
        path, body = request[2], request[1] == b"GET"
        if path == b"/metrics":
            return _response("200 OK", prometheus_text(self._fresh()), CONTENT_TYPE, body)
        if path == b"/healthz":
            status = self._fresh()
            wrong = "".join(f"{one.code}\n" for one in status.problems if one.level == "failed")
            return _response("503 Service Unavailable" if failed(status) else "200 OK", (wrong or "ok\n").encode(), body=body)
        return _response("404 Not Found", b"GET /metrics or /healthz\n", body=body)

    def _fresh(self) -> Status:
        if self._made is None or self._now() - self._made[0] >= _FRESH_S:
            self._made = self._now(), self._status()
        return self._made[1]


def loopback(listen: str) -> tuple[str, int]:
    """Address and port of "127.0.0.1:9464", "[::1]:9464" or "localhost:9464". Raises LimiarError E-CONFIG-LISTEN."""
    found = _LISTEN.fullmatch(listen)
    if not found or int(found[2]) >= 1 << 16:
        cure = 'give health.listen one such as "127.0.0.1:9464", and let a proxy with a password serve others'
        raise LimiarError("E-CONFIG-LISTEN", f"{printable(listen)} is not an address and port of this machine alone: {cure}")
    return {"localhost": "127.0.0.1", "[::1]": "::1"}.get(found[1], found[1]), int(found[2])


def _response(status: str, data: bytes, kind: str = "text/plain; charset=utf-8", body: bool = True) -> bytes:
    fields = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(data)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    )
    return "".join(f"{field}\r\n" for field in fields).encode() + b"\r\n" + (data if body else b"")
