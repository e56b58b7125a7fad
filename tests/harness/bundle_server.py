"""The web server of a fleet's bundles, for tests: a real nginx as docs/fleet.md sets it up.

TLS 1.3, and only those with a certificate of the fleet's authority may read.
"""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from authority import Authority
from needed import Missing
from ports import free_port

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
_START_S = 120.0


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
        self._process.wait(60)


@contextlib.contextmanager
def bundle_server(folder: Path, bundles: Path, authority: Authority) -> Iterator[BundleServer]:
    """A new one, started, that serves `bundles`. Raises Missing."""
    made = BundleServer(folder, bundles, authority)
    try:
        made.wait()
        yield made
    finally:
        made.stop()


def _is_root() -> bool:
    return subprocess.run(["id", "-u"], capture_output=True).stdout.strip() == b"0"


def _program() -> str:
    found = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/bin")
    if not found:
        raise Missing("there is no nginx: apt-get install nginx")
    return found
