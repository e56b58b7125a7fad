"""A real PostgreSQL for tests: made in a folder, on a Unix socket alone, ended with the test."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from needed import Missing

_START_S = 120.0


class Postgres:
    """A running server. `url` is for SQLAlchemy; `database` makes a new, empty database and returns its address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._programs = programs()
        self._count = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def database(self) -> str:
        """The address of a new database."""
        self._count += 1
        name = f"fleet{self._count}"
        self.sql(f"CREATE DATABASE {name}", "postgres")
        return f"postgresql+psycopg://limiar@/{name}?host={self.folder}"

    def sql(self, statement: str, database: str) -> str:
        """Runs a statement as the server's own user, and returns what psql prints."""
        command = [*("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"), "-h", str(self.folder), "-U", "limiar"]
        done = subprocess.run([*command, "-d", database, "-c", statement], capture_output=True, text=True)
        assert done.returncode == 0, f"{done.stderr}\n{Path(f'{self.folder}.log').read_text()[-2000:]}"
        return done.stdout

    def start(self) -> None:
        """Starts it and waits until it answers."""
        options: tuple[str, ...] = (
            "-c",
            "listen_addresses=",
            "-c",
            f"unix_socket_directories={self.folder}",
            "-c",
            "max_connections=30",
        )
        self._log = (self.folder.parent / f"{self.folder.name}.log").open("ab")
        options += ("-c", "shared_buffers=16MB", "-c", "fsync=off")  # a killed process loses nothing that it wrote
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data"), *options]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, preexec_fn=_other_user)
        end = time.monotonic() + _START_S
        while self._process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(AssertionError):
                self.sql("SELECT 1", "postgres")
                return
            time.sleep(0.05)
        raise AssertionError(f"PostgreSQL does not start: {self._log.name}: {Path(self._log.name).read_text()[-2000:]}")

    def kill(self) -> None:
        """Ends it as a crash does."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """Ends it in order, without waiting for its clients."""
        self._end(signal.SIGINT)

    def _end(self, number: int) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(120)
        if self._log:
            self._log.close()


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A new server. Raises Missing."""
    found = programs()
    folder = Path(tempfile.mkdtemp(prefix="limiar-pg-", dir="/tmp"))  # a short path: that of a socket has 107 bytes
    try:
        if os.geteuid() == 0:
            user = pwd.getpwnam(_user())
            os.chown(folder, user.pw_uid, user.pw_gid)
        _run(
            [
                str(found / "initdb"),
                "-D",
                str(folder / "data"),
                "-U",
                "limiar",
                "-A",
                "trust",
                "-N",
                "-E",
                "UTF8",
                "--no-locale",
            ]
        )
        server = Postgres(folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        Path(f"{folder}.log").unlink(missing_ok=True)


def programs() -> Path:
    """The folder of its programs, which Debian does not have on the PATH. Raises Missing."""
    places = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)]
    if found := shutil.which("postgres"):
        places.append(Path(found).resolve().parent)
    if not places:
        raise Missing("there is no PostgreSQL: apt-get install postgresql")
    return places[0]


def _user() -> str:
    """It refuses to run as root."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"


def _other_user() -> None:
    if os.geteuid() == 0:
        user = pwd.getpwnam(_user())
        os.setgid(user.pw_gid)
        os.setgroups([])
        os.setuid(user.pw_uid)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=_other_user, cwd="/")
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
