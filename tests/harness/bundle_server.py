"""The web server of a fleet's bundles, for tests: a real nginx as docs/fleet.md sets it up; a proxy that cuts its connections.

TLS 1.3, and only those with a certificate of the fleet's authority may read.
"""

import contextlib
import random
import selectors
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from authority import Authority
from broker import free_port
from needed import Missing

_CONFIG = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/temporary; proxy_temp_path {folder}/temporary; fastcgi_temp_path {folder}/temporary;
    uwsgi_temp_path {folder}/temporary; scgi_temp_path {folder}/temporary;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_protocols TLSv1.3;
        ssl_buffer_size 4k;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_client_certificate {authority};
        ssl_verify_client on;
        location /elsewhere/ {{ return 302 https://127.0.0.1:1/limiar$request_uri; }}
        location /limiar/ {{ alias {bundles}/; }}
    }}
}}
"""
_START_S = 10.0
_AT_ONCE = 1 << 14  # bytes


class BundleServer:
    """`address` is of the folder that it serves, as `bundles` in limiar.toml has it."""

    def __init__(self, folder: Path, bundles: Path, authority: Authority) -> None:
        """Raises Missing."""
        folder.mkdir(parents=True)
        bundles.mkdir(exist_ok=True)
        server, self.port = authority.server("nginx"), free_port()
        self._config, self._log = folder / "nginx.conf", folder / "error.log"
        self._config.write_text(
            _CONFIG.format(
                folder=folder,
                user="user root;" if shutil.which("id") and _is_root() else "",
                port=self.port,
                certificate=server.certificate,
                key=server.key,
                authority=authority.certificate,
                bundles=bundles,
            )
        )
        self._process = subprocess.Popen([_program(), "-e", str(self._log), "-c", str(self._config), "-p", str(folder)])

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}/limiar"

    def wait(self) -> None:
        """Until it listens."""
        end = time.monotonic() + _START_S
        while self._process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError(f"nginx does not start: {self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@contextlib.contextmanager
def bundle_server(folder: Path, bundles: Path, authority: Authority) -> Iterator[BundleServer]:
    """A new one, started, that serves `bundles`. Raises Missing."""
    made = BundleServer(folder, bundles, authority)
    try:
        made.wait()
        yield made
    finally:
        made.stop()


class CuttingProxy:
    """The first, third, fifth … connection is cut after some of the bytes that the server sends, by an end or a reset."""

    def __init__(self, port: int, rng: random.Random, within: int, every: int = 2) -> None:
        """port: of the server. within: bytes, of which the cut is one. every: 1 cuts all connections."""
        self._server, self._rng, self._within, self.every = port, rng, within, every
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.connections = self.cuts = self.sent = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}/limiar"

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                client, _ = self._listening.accept()
                self.connections += 1
                cut_at = self._rng.randrange(self._within) if (self.connections - 1) % self.every == 0 else None
                threading.Thread(target=self._carry, args=(client, cut_at), daemon=True).start()

    def _carry(self, client: socket.socket, cut_at: int | None) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server)) as server, selectors.DefaultSelector() as both:
            both.register(client, selectors.EVENT_READ, server)
            both.register(server, selectors.EVENT_READ, client)
            sent = 0
            with contextlib.suppress(OSError):
                while True:
                    for key, _ in both.select():
                        from_server = key.fileobj is server
                        data = key.fileobj.recv(_AT_ONCE)  # type: ignore[union-attr]
                        if not data:
                            return
                        if from_server and cut_at is not None and sent + len(data) >= cut_at:
                            client.sendall(data[: cut_at - sent])
                            self._cut(client)
                            return
                        key.data.sendall(data)
                        sent += len(data) if from_server else 0
                        self.sent += len(data) if from_server else 0

    def _cut(self, client: socket.socket) -> None:
        self.cuts += 1
        if self._rng.random() < 0.5:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end


def _is_root() -> bool:
    return subprocess.run(["id", "-u"], capture_output=True).stdout.strip() == b"0"


def _program() -> str:
    found = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/bin")
    if not found:
        raise Missing("there is no nginx: apt-get install nginx")
    return found
