"""Network cameras over HTTP: a real server that sends JPEGs, well and badly."""

import base64
import contextlib
import functools
import http.server
import io
import itertools
import json
import sqlite3
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

import limiar.edge_app.camera.capture
import limiar.edge_app.camera.freshness
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.camera import mjpeg
from limiar.edge_app.camera.capture import Capture
from limiar.edge_app.camera.frame import Frame
from limiar.edge_app.camera.messages import View
from limiar.edge_app.camera.source import find_source, open_source
from limiar.edge_app.errors import SourceError

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]
SHOWN = 6  # so many frames a camera shows before it is believed
Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


def picture(number: int) -> bytes:
    """A JPEG, red on the left and blue on the right, with a bar that moves."""
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:, :32, 0] = rgb[:, 32:, 2] = 255
    rgb[number % 48] = 0
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=95)
    return file.getvalue()


class Camera(http.server.BaseHTTPRequestHandler):
    """Answers as it is told to."""

    answer: Answer

    def do_GET(self) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            type(self).answer(self)

    def log_message(self, format: str, *_: object) -> None:  # its name there
        pass


@contextlib.contextmanager
def camera(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Its address, as host and port."""
    handler = type("Answering", (Camera,), {"answer": staticmethod(answer)})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def begin(to: http.server.BaseHTTPRequestHandler, boundary: str = "frame") -> None:
    to.send_response(200)
    to.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={boundary}")
    to.end_headers()


def send(to: http.server.BaseHTTPRequestHandler, body: bytes, with_length: bool = True, boundary: str = "frame") -> None:
    length = f"Content-Length: {len(body)}\r\n" if with_length else ""
    to.wfile.write(f"--{boundary}\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + body + b"\r\n")
    to.wfile.flush()
    time.sleep(0.01)


def stream(to: http.server.BaseHTTPRequestHandler, count: int = 20, with_length: bool = True) -> None:
    begin(to)
    for number in range(count):
        send(to, picture(number), with_length)


def watched(address: str) -> tuple[list[Frame], SourceError]:
    """Every frame until the stream fails, as it does at last."""
    source = find_source(address)
    frames: list[Frame] = []
    with Capture(functools.partial(open_source, source), View(source.name)) as capture, pytest.raises(SourceError) as raised:
        frames.extend(msgspec.structs.replace(found, memory=found.pixels.tobytes()) for found in capture.frames() if found)
    return frames, raised.value


def is_red_and_blue(pixels: Pixels) -> bool:
    rows = np.sort(pixels.astype(int), axis=0)[8:]  # without the bar
    left, right = rows[:, 4:28].reshape(-1, 3), rows[:, 36:60].reshape(-1, 3)
    return bool(np.abs(left - [255, 0, 0]).max() < 40 and np.abs(right - [0, 0, 255]).max() < 40)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiar.edge_app.camera.capture, "FRAME_S", 1.2)
    monkeypatch.setattr(limiar.edge_app.camera.freshness, "_FROZEN_S", 0.3)
    monkeypatch.setattr(mjpeg, "_DAMAGED_S", 0.3)


@pytest.mark.parametrize("with_length", [True, False])
def test_a_stream_of_jpegs_is_read_with_red_on_the_left(with_length: bool) -> None:
    with camera(functools.partial(stream, with_length=with_length)) as host:
        frames, error = watched(f"http://{host}/video.mjpg")
    assert error.code == "E-SOURCE-READ"
    assert "ended the stream" in error.message
    assert len(frames) + sum(found.dropped for found in frames) >= 19
    assert all(is_red_and_blue(found.pixels) for found in frames)


@pytest.mark.parametrize(("said", "used"), [("--frame", "frame"), ('"a b"', "a b"), ("--a--b", "--a--b"), ("x;y=z", "x")])
def test_the_boundary_is_understood_as_cameras_write_it(said: str, used: str) -> None:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        begin(to, said)
        for number in range(SHOWN + 5):
            send(to, picture(number), number % 2 == 0, used)

    with camera(answer) as host:
        assert len(watched(f"http://{host}/")[0]) >= 1


def test_a_stream_that_falls_silent_is_stalled(impatient: None) -> None:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        stream(to, SHOWN + 5)
        time.sleep(5)

    with camera(answer) as host:
        frames, error = watched(f"http://{host}/")
    assert frames
    assert error.code == "E-SOURCE-STALLED"


@pytest.mark.parametrize("counted", [0, 2], ids=["no length", "the line end counted"])
def test_a_length_that_is_0_or_counts_the_line_end_is_understood(counted: int) -> None:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        begin(to)
        for number in range(SHOWN + 5):
            body = picture(number)
            length = len(body) + counted if counted else 0
            to.wfile.write(f"--frame\r\nContent-Length: {length}\r\n\r\n".encode() + body + b"\r\n")
            time.sleep(0.01)

    with camera(answer) as host:
        frames, error = watched(f"http://{host}/")
    assert frames
    assert "the connection was closed" in error.message


@pytest.mark.parametrize("with_length", [True, False])
def test_a_picture_that_is_cut_off_is_no_frame(with_length: bool) -> None:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        stream(to, SHOWN + 3, with_length)
        whole = picture(40)
        length = f"Content-Length: {len(whole)}\r\n" if with_length else ""
        to.wfile.write(f"--frame\r\n{length}\r\n".encode() + whole[: len(whole) // 2])

    with camera(answer) as host:
        frames, error = watched(f"http://{host}/")
    assert error.code == "E-SOURCE-READ"
    assert 1 <= len(frames) <= 3
    assert all(is_red_and_blue(found.pixels) for found in frames)


def test_damaged_pictures_between_whole_ones_are_passed_over() -> None:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        begin(to)
        for number in range(20):
            whole = picture(number)
            send(to, whole if number % 2 else whole[: len(whole) // 2] + b"\xff\xd9")

    with camera(answer) as host:
        frames, _ = watched(f"http://{host}/")
    assert frames
    assert frames[-1].sequence <= 10
    assert all(is_red_and_blue(found.pixels) for found in frames)


def test_a_camera_that_gives_nothing_but_damaged_pictures_says_so(impatient: None) -> None:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        begin(to)
        for number in range(500):
            send(to, picture(number)[:-400])

    with camera(answer) as host:
        _, error = watched(f"http://{host}/")
    assert error.code == "E-SOURCE-READ"
    assert "do not decode (E-IMAGE-" in error.message


def test_what_was_held_up_in_the_network_is_not_given_and_the_camera_is_asked_anew() -> None:
    connections = itertools.count(1)

    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        number = next(connections)
        begin(to)
        for k in range(15):
            send(to, picture(k))
        if number == 1:
            time.sleep(1.5)
            for k in range(15, 20):
                send(to, picture(k))

    with camera(answer) as host:
        source = open_source(find_source(f"http://{host}/"))
        bars = [int(np.argmin(pixels.sum(axis=(1, 2)))) for _ in range(30) if (pixels := source.read()) is not None]
    assert bars == [*range(15), *range(15)][: len(bars)]
    assert len(bars) > 20


@pytest.mark.parametrize("length", ["64000001", "9" * 30])
def test_a_picture_of_any_length_is_not_waited_for(length: str) -> None:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        begin(to)
        to.wfile.write(f"--frame\r\nContent-Length: {length}\r\n\r\n".encode())
        time.sleep(3)

    with camera(answer) as host:
        assert "the limit is 64000000" in watched(f"http://{host}/")[1].message


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/vnd.apple.mpegurl", b"#EXTM3U\nfile:///etc/passwd\n"),
        ("text/html", b"<html>"),
        ("image/jpeg", picture(0)),
        ("video/mp4", bytes(99)),
        ("multipart/x-mixed-replace", picture(0)),  # and no boundary
    ],
)
def test_what_is_no_stream_of_jpegs_is_refused_and_not_followed(kind: str, body: bytes) -> None:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Type", kind)
        to.end_headers()
        to.wfile.write(body)

    with camera(answer) as host:
        assert watched(f"http://{host}/")[1].code == "E-SOURCE-FORMAT"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "E-SOURCE-DENIED"),
        (403, "E-SOURCE-DENIED"),
        (404, "E-SOURCE-OPEN"),
        (503, "E-SOURCE-BUSY"),
        (302, "E-SOURCE-OPEN"),
    ],
)
def test_a_refusal_has_its_own_answer_and_a_redirection_is_not_followed(status: int, code: str) -> None:
    asked = []

    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(to.path)
        to.send_response(status)
        to.send_header("Location", "/elsewhere")
        to.end_headers()

    with camera(answer) as host:
        error = watched(f"http://user:secret@{host}/video")[1]
    assert error.code == code
    assert str(status) in error.message
    assert "secret" not in str(error)
    assert set(asked) == {"/video"}


def test_user_and_password_are_sent_when_asked_for() -> None:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        if to.headers["Authorization"] == "Basic " + base64.b64encode(b"user:p@ss word").decode():
            return stream(to, SHOWN + 5)
        to.send_response(401)
        to.send_header("WWW-Authenticate", 'Basic realm="camera"')
        return to.end_headers()

    with camera(answer) as host:
        assert watched(f"http://user:p%40ss%20word@{host}/")[0]
        assert watched(f"http://user:other@{host}/")[1].code == "E-SOURCE-DENIED"


def test_what_does_not_speak_http_is_refused() -> None:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        to.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n" * 20)

    with camera(answer) as host:
        assert watched(f"http://{host}/")[1].code == "E-SOURCE-OPEN"


def test_a_stream_over_tls_is_read_with_a_certificate_that_is_trusted_and_with_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = self_signed(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with camera(stream, tls) as host:
        error = watched(f"https://{host}/")[1]
        assert error.code == "E-SOURCE-OPEN"
        assert "SSL_CERT_FILE" in error.message
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert watched(f"https://{host}/")[0]


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A camera's certificate for 127.0.0.1, and its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "camera")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    return folder / "certificate.pem", folder / "key.pem"


def test_the_command_keeps_what_came_before_the_stream_ended_and_no_password(
    limiar: Limiar, tiny_path: Path, tmp_path: Path
) -> None:
    with camera(functools.partial(stream, count=2000)) as host:
        done = limiar(
            "camera", tiny_path, f"http://user:secret@{host}/v?token=secret", "--db", tmp_path / "r.db", "--seconds", "4"
        )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines
    assert {line["source"] for line in lines} == {f"http://{host}/v"}
    assert "frame" not in lines[0]
    with contextlib.closing(sqlite3.connect(tmp_path / "r.db")) as database:
        assert database.execute("SELECT DISTINCT source FROM camera_results").fetchall() == [(f"http://{host}/v",)]
    assert b"secret" not in done.stdout + done.stderr + (tmp_path / "r.db").read_bytes()
