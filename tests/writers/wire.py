"""Requests to the page as bytes over a socket: also such as no browser sends."""

import contextlib
import socket
import ssl
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage, HTTPResponse
from urllib.parse import urlencode, urlsplit

from pages import CSRF

Headers = dict[str, str | None]
_S = 20.0  # the page answers, or ends the connection


@dataclass(frozen=True)
class Said:
    """An answer."""

    status: int  # 0: the connection was closed without one
    headers: HTTPMessage
    body: bytes

    @property
    def place(self) -> str:
        return self.headers.get("Location", "")


@dataclass
class Browser:
    """Someone who looks at the page. Gives its cookies back, and follows nothing."""

    url: str
    cookies: dict[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"  # its own
    secured: ssl.SSLContext | None = None

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def connect(self) -> socket.socket:
        found = urlsplit(self.url)
        plain = socket.create_connection((found.hostname, found.port), _S, source_address=(self.address, 0))
        return self.secured.wrap_socket(plain, server_hostname=found.hostname) if self.secured else plain

    def send(self, raw: bytes) -> Said:
        """The answer to these bytes."""
        with self.connect() as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionError):  # it was refused before all had been sent
                connection.sendall(raw)
            return heard(connection, raw.partition(b" ")[0].decode())

    def ask(self, path: str, method: str = "GET", body: bytes = b"", changed: Headers | None = None) -> Said:
        """changed: headers beside, or in place of, the usual ones; None leaves one out."""
        headers: Headers = {"Host": self.host, "Connection": "close", "Accept": "text/html"}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body or method == "POST":
            headers |= {"Content-Length": str(len(body)), "Content-Type": "application/x-www-form-urlencoded"}
        headers |= changed or {}
        lines = [
            f"{method} {path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in headers.items() if value is not None),
        ]
        said = self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        for cookie in said.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return said

    def csrf(self, form: str) -> str:
        """What the forms of a page must send back."""
        found = CSRF.search(self.ask(form).body)
        assert found, form
        return found[1].decode()

    def post(self, path: str, form: str = "/", fields: dict[str, str] | None = None, changed: Headers | None = None) -> Said:
        """Sends a form of the page at `form`, as a browser does."""
        csrf = self.csrf(form)
        return self.ask(path, "POST", urlencode({"csrf": csrf, **(fields or {})}).encode(), changed)

    def sign_in(self, token: str) -> Said:
        return self.post("/login", "/login", {"token": token})


def heard(connection: socket.socket, method: str = "GET") -> Said:
    """What comes back, up to the end of an answer or of the connection. Raises TimeoutError: neither comes."""
    answer = HTTPResponse(connection, method=method)
    try:
        answer.begin()
        return Said(answer.status, answer.headers, answer.read())
    except (ConnectionError, HTTPException):
        return Said(0, HTTPMessage(), b"")
