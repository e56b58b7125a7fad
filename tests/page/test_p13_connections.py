"""What a connection may take of the page: its size, its time, and the place of others."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from limiar.edge_app.page import connections
from limiar.edge_app.page.connections import CONNECTIONS, Server
from pages import made_state, serving, until
from wire import Browser, heard

MANY = 10 << 20  # bytes that one answer of `app` has


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(made_state(tmp_path_factory.mktemp("p13") / "state")) as (_, url):
        yield url


def head(url: str, *headers: str, start: str = "GET /results HTTP/1.1") -> bytes:
    host = url.split("/")[2]
    return "\r\n".join([start, f"Host: {host}", "Connection: close", *headers, "", ""]).encode()


@pytest.mark.parametrize(
    "headers",
    [["X: " + "x" * (10 << 20)], [f"X{k}: x" for k in range(10_000)], ["Cookie: limiar=" + "a" * 20_000]],
    ids=["10 MB", "10,000 fields", "a cookie of 20 kB"],
)
def test_a_header_that_is_too_large_is_refused(url: str, headers: list[str]) -> None:
    browser = Browser(url)
    assert browser.send(head(url, *(header[:100] for header in headers[:50]))).status == 200
    assert browser.send(head(url, *headers)).status in (431, 0)  # 0: the end came before the answer was read
    assert browser.ask("/results").status == 200


def test_a_first_line_that_is_too_long_is_refused(url: str) -> None:
    assert Browser(url).send(head(url, start=f"GET /{'a' * (1 << 20)} HTTP/1.1")).status in (431, 0)


SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
BODIES = {
    "both lengths": (("Transfer-Encoding: chunked", "Content-Length: 5"), b"0\r\n\r\n" + SMUGGLED),
    "both lengths, the other way round": (("Content-Length: 5", "Transfer-Encoding: chunked"), b"0\r\n\r\n" + SMUGGLED),
    "two lengths": (("Content-Length: 0", f"Content-Length: {len(SMUGGLED)}"), SMUGGLED),
    "a length with a sign": (("Content-Length: +5",), b"x=abc" + SMUGGLED),
    "a length that is no number": (("Content-Length: 0x5",), b"x=abc" + SMUGGLED),
    "an encoding behind another": (("Transfer-Encoding: gzip, chunked",), b"0\r\n\r\n" + SMUGGLED),
    "an encoding with a mark": (("Transfer-Encoding: \x0bchunked",), b"0\r\n\r\n" + SMUGGLED),
    "a chunk of no size": (("Transfer-Encoding: chunked",), b"zz\r\n\r\n" + SMUGGLED),
    "a chunk that goes on": (("Transfer-Encoding: chunked",), b"1\r\nabc\r\n0\r\n\r\n" + SMUGGLED),
    "a header in two lines": (("X: a\r\n\tTransfer-Encoding: chunked", "Content-Length: x"), SMUGGLED),
    "a space before the colon": (("Content-Length : 5",), b"x=abc" + SMUGGLED),
    "a line end of half": (("X: a\rTransfer-Encoding: chunked",), SMUGGLED),
}


@pytest.mark.parametrize("name", BODIES)
def test_no_request_can_hide_another(url: str, name: str) -> None:
    headers, body = BODIES[name]
    host = url.split("/")[2]
    with Browser(url).connect() as connection:
        lines = ("POST /language HTTP/1.1", f"Host: {host}", "Connection: keep-alive", *headers, "", "")
        connection.sendall("\r\n".join(lines).encode("latin-1") + body)
        assert heard(connection).status in (400, 501)
        connection.settimeout(5.0)
        with contextlib.suppress(ConnectionError):
            assert connection.recv(1000) == b""  # the second one is not answered


def test_two_requests_of_which_neither_hides_are_both_answered(url: str) -> None:
    with Browser(url).connect() as connection:
        connection.sendall(SMUGGLED + SMUGGLED)
        connection.settimeout(5.0)
        found = b""
        while found.count(b"HTTP/1.1 503") < 2:
            found += connection.recv(1000)


def test_a_form_of_many_parts_or_fields_is_refused(url: str) -> None:
    browser = Browser(url)
    csrf = browser.csrf("/")

    def sent(parts: int, size: int = 1) -> int:
        part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
        fields = [("csrf", csrf), ("code", "pt"), *((f"x{k}", "x" * size) for k in range(parts))]
        body = "".join(part.format(*field) for field in fields).encode() + b"--b--\r\n"
        return browser.ask("/language", "POST", body, {"Content-Type": "multipart/form-data; boundary=b"}).status

    assert sent(1) == 303
    assert (sent(100), sent(1, 100_000)) == (413, 413)
    many = "&".join(["csrf=" + csrf, *("x=1" for _ in range(10_000))])
    assert browser.ask("/language", "POST", many.encode()).status in (303, 413)


def test_idle_connections_shut_nobody_out(url: str) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(2 * CONNECTIONS):
            connection = stack.enter_context(Browser(url).connect())
            connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
        for _ in range(10):
            assert Browser(url).ask("/results").status == 200


def app(environ: dict[str, object], start: Callable[..., object]) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [bytes(1 << 20) for _ in range(MANY >> 20)] if environ["PATH_INFO"] == "/many" else [b"x"]


class Running:
    """A server of this process."""

    def __init__(self, kind: type[TcpWSGIServer] = Server, idle_s: float = 1.5, limit: int = 100) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        adj = Adjustments(threads=2, connection_limit=limit, asyncore_use_poll=True, outbuf_high_watermark=1 << 16)
        # As arguments they become whole seconds.
        adj.channel_timeout, adj.cleanup_interval, adj.asyncore_loop_timeout = idle_s, 0.1, 0.1
        self.server = kind(app, {}, _sock=listening, bind_socket=False, sockinfo=(listening.family, listening.type), adj=adj)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        self._thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> "Running":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.maintenance = self._end  # which its loop calls
        self._thread.join(10)

    def _end(self, _: float) -> None:
        raise SystemExit


def drip(url: str, start: bytes, seconds: float) -> bool:
    """Whether a connection on which a byte comes every 0.1 s is still open after so many seconds."""
    with Browser(url).connect() as connection:
        connection.settimeout(0.1)
        connection.sendall(start)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                connection.sendall(b"x")
                if connection.recv(1000) == b"":
                    return False
            except TimeoutError:
                continue
            except ConnectionError:
                return False
    return True


SLOW = {"header": b"GET / HTTP/1.1\r\nX: ", "body": b"POST / HTTP/1.1\r\nContent-Length: 60000\r\n\r\n"}


@pytest.mark.parametrize("what", SLOW)
def test_a_request_that_comes_byte_by_byte_is_ended(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(connections, "_REQUEST_S", 0.6)
    with Running() as running:
        assert not drip(running.url, SLOW[what], 20.0)
    with Running(TcpWSGIServer) as running:  # the control: waitress alone
        assert drip(running.url, SLOW[what], 2.0)


def test_a_body_that_gets_on_has_the_time_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_REQUEST_S", 1.5)
    with Running(idle_s=60.0) as running, Browser(running.url).connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 320000\r\n\r\n")
        for _ in range(16):
            connection.sendall(bytes(20_000))
            time.sleep(0.2)
        assert heard(connection).status == 200


@pytest.mark.parametrize(("kind", "limit", "shut_out"), [(Server, 40, False), (TcpWSGIServer, 20, True)])
def test_as_many_idle_connections_as_there_may_be_shut_nobody_out(
    monkeypatch: pytest.MonkeyPatch, kind: type[TcpWSGIServer], limit: int, shut_out: bool
) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS", 20)
    with Running(kind, 60.0, limit) as running, contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(Browser(running.url).connect()).sendall(b"GET / HTTP/1.1\r\nX: ")
        assert answered(running.url, 1.0 if shut_out else 20.0) is not shut_out


def many_that_read_nothing(running: Running, stack: contextlib.ExitStack) -> None:
    """As many as there are threads."""
    for _ in range(2):
        connection = stack.enter_context(Browser(running.url).connect())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /many HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: len([1 for one in tuple(running.server.active_channels.values()) if one.requests]) == 2)


def answered(url: str, seconds: float) -> bool:
    with Browser(url).connect() as connection:
        connection.settimeout(seconds)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        try:
            return heard(connection).status == 200
        except TimeoutError:
            return False


def test_clients_that_read_nothing_keep_no_thread() -> None:
    with Running() as running, contextlib.ExitStack() as stack:
        many_that_read_nothing(running, stack)
        until(lambda: answered(running.url, 1.0))
        until(lambda: not running.server.active_channels)
    with Running(TcpWSGIServer) as running, contextlib.ExitStack() as stack:  # the control: waitress alone
        many_that_read_nothing(running, stack)
        assert not answered(running.url, 2.0)


@pytest.mark.parametrize(("kind", "ended"), [(Server, True), (TcpWSGIServer, False)], ids=["the page", "waitress alone"])
def test_clients_that_read_nothing_do_not_keep_it_from_ending(kind: type[TcpWSGIServer], ended: bool) -> None:
    with contextlib.ExitStack() as stack:
        with Running(kind) as running:
            many_that_read_nothing(running, stack)
        assert (running.server.task_dispatcher.threads == set()) is ended


def test_a_client_that_reads_slowly_gets_everything() -> None:
    with Running() as running, Browser(running.url).connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(b"GET /many HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        count = 0
        while data := connection.recv(1 << 18):
            count += len(data)
            time.sleep(0.02)
        assert count > MANY
