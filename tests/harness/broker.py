"""A real mosquitto for tests, as docs/fleet.md sets it up: TLS 1.3, a certificate for everyone, and topics by name."""

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

COLLECTOR = "collector"  # the common name of the collector's certificate
ACCESS = f"""user {COLLECTOR}
topic read limiar/+/up/#
topic write limiar/+/down/#

pattern write limiar/%u/up/#
pattern read limiar/%u/down/#
pattern write homeassistant/device/%u/config
"""
_TLS = """cafile {authority}
certfile {certificate}
keyfile {key}
require_certificate true
use_identity_as_username true
use_username_as_clientid true
tls_version tlsv1.3
acl_file {access}
"""
_START_S = 120.0


class Broker:
    """A running mosquitto on this machine. It keeps its port and what it holds when it is started again."""

    def __init__(self, folder: Path, authority: Authority | None, more: str = "", access: str = ACCESS) -> None:
        """authority: None for a broker without TLS, which takes everyone at their word. more: of its configuration."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.log, self.port = folder, folder / "mosquitto.log", free_port()
        kept = folder / "kept"
        kept.mkdir()
        lines = f"listener {self.port} 127.0.0.1\npersistence true\npersistence_location {kept}/\nautosave_interval 1\n{more}\n"
        if authority:
            server = authority.server()
            (folder / "access").write_text(access)
            (folder / "access").chmod(0o600)
            files = {"authority": authority.certificate, "certificate": server.certificate, "key": server.key}
            lines += _TLS.format(**files, access=folder / "access")
        else:
            lines += "allow_anonymous true\n"
        if shutil.which("id") and subprocess.run(["id", "-u"], capture_output=True).stdout.strip() == b"0":
            lines += "user root\n"
        self.config = folder / "mosquitto.conf"
        self.config.write_text(lines)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """For `broker` of a configuration."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process
        return self._process.pid

    def start(self) -> None:
        """Starts it and waits until it listens."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([program(), "-c", str(self.config)], stdout=log, stderr=log)
        end = time.monotonic() + _START_S
        while self._process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError(f"mosquitto does not start: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """Ends it as a crash does."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Ends it in order."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()


@contextlib.contextmanager
def broker(folder: Path, authority: Authority | None = None, more: str = "", access: str = ACCESS) -> Iterator[Broker]:
    """A new one, started. Raises Missing."""
    program()
    made = Broker(folder, authority, more, access)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def program() -> str:
    """mosquitto, which Debian does not have on everyone's PATH. Raises Missing."""
    found = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/sbin")
    if not found:
        raise Missing("there is no mosquitto: apt-get install mosquitto")
    return found
