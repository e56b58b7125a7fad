"""The page with a certificate of one's own."""

import contextlib
import datetime
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from limiar.edge_app.page import tls
from limiar.edge_app.page.access import new_token
from pages import made_state, serving, until
from wire import Browser


def write_pair(folder: Path, password: bytes | None = None) -> tuple[str, ...]:
    """The options with a certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1)
    )
    made = made.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    folder.mkdir()
    (folder / "device.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    kept = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    data = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, kept)
    (folder / "device.key").write_bytes(data)
    return "--certificate", str(folder / "device.pem"), "--key", str(folder / "device.key")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    return write_pair(tmp_path_factory.mktemp("tls") / "pair")


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> str:
    return new_token(made_state(tmp_path_factory.getbasetemp() / "tls-state"))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, pair: tuple[str, ...], token: str) -> Iterator[str]:
    """A page that asks for its token."""
    with serving(tmp_path_factory.getbasetemp() / "tls-state", "--token", *pair) as (_, url):
        yield url


@pytest.fixture
def trusting(pair: tuple[str, ...]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=pair[1])


def test_a_browser_that_trusts_the_certificate_signs_in(url: str, token: str, trusting: ssl.SSLContext) -> None:
    browser = Browser(url, secured=trusting)
    said = browser.sign_in(token)
    assert said.status == 303
    assert "Secure" in said.headers["Set-Cookie"].split("; ")
    assert browser.ask("/results").status == 200
    assert len(browser.ask("/static/page.css").body) > 1000


def test_a_form_of_the_page_passes_and_one_of_elsewhere_does_not(url: str, token: str, trusting: ssl.SSLContext) -> None:
    browser = Browser(url, secured=trusting)
    browser.sign_in(token)
    review = {"label": "neg", "by": "Ana", "why": ""}
    assert browser.post("/results/1/review", "/results/1", review, {"Origin": f"https://{browser.host}"}).status == 303
    assert browser.post("/results/1/review", "/results/1", review, {"Origin": "https://evil.example"}).status == 403


def test_who_guesses_is_known_by_the_address(url: str, token: str, trusting: ssl.SSLContext) -> None:
    guesser = Browser(url, address="127.0.0.9", secured=trusting)
    for _ in range(5):
        guesser.sign_in("wrong")
    assert guesser.sign_in(token).status == 429
    assert Browser(url, address="127.0.0.10", secured=trusting).sign_in(token).status == 303


def test_a_connection_carries_one_request_after_another(url: str, trusting: ssl.SSLContext) -> None:
    browser = Browser(url, secured=trusting)
    with browser.connect() as connection:
        for _ in range(3):
            connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: {browser.host}\r\n\r\n".encode())
            found = b""
            while not found.endswith(b"failed\n"):
                data = connection.recv(1000)
                assert data, found
                found += data


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_without_tls_or_with_an_old_one_nothing_is_said(url: str, trusting: ssl.SSLContext) -> None:
    assert Browser(url).ask("/login").status == 0
    trusting.minimum_version = trusting.maximum_version = ssl.TLSVersion.TLSv1_1
    trusting.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Browser(url, secured=trusting).ask("/login")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        trusting.maximum_version = version
        trusting.minimum_version = version
        assert Browser(url, secured=trusting).ask("/login").status == 200


@pytest.mark.parametrize(
    "sent", [b"", b"\x16\x03\x01\x02\x00", b"\x16\x03\x01\xff\xff" + bytes(70_000), b"GET / HTTP/1.1\r\n\r\n"]
)
def test_clients_that_never_finish_the_handshake_shut_nobody_out(url: str, trusting: ssl.SSLContext, sent: bytes) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(250):
            connection = stack.enter_context(Browser(url).connect())
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
        assert Browser(url, secured=trusting).ask("/login").status == 200


def test_idle_connections_shut_nobody_out_and_take_little(
    tmp_path: Path, pair: tuple[str, ...], trusting: ssl.SSLContext
) -> None:
    with serving(made_state(tmp_path / "state"), *pair) as (process, url), contextlib.ExitStack() as stack:

        def resident() -> int:
            return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        browser = Browser(url, secured=trusting)
        assert browser.ask("/login").status == 303  # no token is asked for
        before = resident()
        for _ in range(250):
            stack.enter_context(browser.connect()).sendall(b"GET / HTTP/1.1\r\nHost: ")
        for _ in range(3):
            assert browser.ask("/results").status == 200
        assert resident() - before < 30e6  # 70e6 with asyncio's own buffers


def test_what_connections_had_is_free_again(tmp_path: Path, pair: tuple[str, ...], trusting: ssl.SSLContext) -> None:
    with serving(made_state(tmp_path / "state"), *pair) as (process, url):
        browser = Browser(url, secured=trusting)

        def held() -> tuple[int, int]:
            kept = Path(f"/proc/{process.pid}")
            return len(os.listdir(kept / "fd")), len(os.listdir(kept / "task"))

        assert browser.ask("/results").status == 200
        time.sleep(0.5)
        before = held()
        for _ in range(50):
            assert browser.ask("/results").status == 200
            Browser(url).send(b"no TLS\r\n\r\n")
        until(lambda: held() <= before)
        process.terminate()
        assert process.wait(20) == 0
        assert process.stderr
        assert process.stderr.read() == b""


def refused(folder: Path, *words: str) -> str:
    with pytest.raises(AssertionError) as error, serving(folder, *words):
        pass
    return str(error.value)


def test_a_pair_that_cannot_be_used_is_refused_and_no_password_is_asked_for(tmp_path: Path, pair: tuple[str, ...]) -> None:
    state = made_state(tmp_path / "state")
    other = write_pair(tmp_path / "other")
    (tmp_path / "text.pem").write_text("text")
    for words in (
        (*pair[:3], other[3]),
        write_pair(tmp_path / "secret", b"password"),
        (*pair[:3], str(tmp_path / "text.pem")),
        ("--certificate", str(tmp_path / "text.pem"), *pair[2:]),
        (*pair[:3], pair[1]),
    ):
        assert "E-PAGE-CERTIFICATE" in refused(state, *words)
    assert "Give --certificate and --key together" in refused(state, *pair[:2])


def test_the_handshake_has_a_bounded_time(monkeypatch: pytest.MonkeyPatch, pair: tuple[str, ...]) -> None:
    monkeypatch.setattr(tls, "_HANDSHAKE_S", 0.2)
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        front = tls.Front(tls.context(Path(pair[1]), Path(pair[3])), listening, lambda connection, _: taken.append(connection))
        with front, socket.create_connection(listening.getsockname(), 20) as connection:
            assert connection.recv(10) == b""  # ended by the other side
    assert taken == []
