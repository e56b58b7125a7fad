"""A running `limiar run`, for tests: started, killed, looked at."""

import io
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
from PIL import Image

REAL = "from limiar.edge_app.cli import main; main()"


def noise(count: int, seed: int = 0) -> list[bytes]:
    """Small grey PNG files, all different."""
    rng = np.random.default_rng(seed)
    files = []
    for _ in range(count):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (50, 50), dtype=np.uint8)).save(file, "PNG", compress_level=1)
        files.append(file.getvalue())
    return files


class Service:
    """`limiar run` with one watched folder, FOLDER/inbox, and its state in FOLDER/state."""

    def __init__(
        self,
        folder: Path,
        bundle: Path | str,
        *,
        more: str = "",
        script: str = REAL,
        workers: int = 1,
        around: Sequence[str | Path] = (),
    ) -> None:
        """more: of the configuration. script: what Python runs in place of the command.

        around: a command that becomes the one that follows it, without a process of its own.
        """
        self.folder, self.inbox, self.state = folder, folder / "inbox", folder / "state"
        self.config, self.db, self.log = folder / "limiar.toml", folder / "state" / "results.db", folder / "log"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.config.write_text(f'[answer]\nbundle = "{bundle}"\nworkers = {workers}\n[[folder]]\npath = "inbox"\n{more}')
        self.script, self._around = script, around
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.kill()

    def start(self) -> None:
        """Starts it, without waiting."""
        environment = {**os.environ, "LIMIAR_STATE": str(self.state)}
        command = [*self._around, sys.executable, "-P", "-c", self.script, "run", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env=environment)

    @property
    def pid(self) -> int:
        """Of its main process."""
        assert self.process
        return self.process.pid

    def kill(self) -> None:
        """Ends it as a power cut does, with all of its processes."""
        assert self.process
        family = self.children()
        self.process.kill()
        self.process.wait()
        end = time.monotonic() + 5
        while any(os.path.exists(f"/proc/{pid}/exe") for pid in family) and time.monotonic() < end:  # the kernel ends them
            time.sleep(0.01)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ends it in order; returns its exit status."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(10)

    def put(self, name: str, data: bytes) -> Path:
        """A file that appears in the watched folder at once, by a rename."""
        target = self.inbox / name
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        partial.write_bytes(data)
        partial.rename(target)
        return target

    def wait(self, until: Callable[[], object], seconds: float = 30.0) -> None:
        """Waits until something is true. Raises AssertionError with the log if it does not become so, or the service ended."""
        end = time.monotonic() + seconds
        while not until():
            assert self.process
            assert self.process.poll() is None, f"the service ended with {self.process.returncode}:\n{self.log.read_text()}"
            assert time.monotonic() < end, self.log.read_text()[-4000:]
            time.sleep(0.02)

    def rows(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Of its database, beside the running service; none before it has one."""
        if not self.db.exists():
            return []
        connection = sqlite3.connect(f"file:{self.db}?mode=ro", uri=True)
        try:
            return connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError:  # it has no tables yet
            return []
        finally:
            connection.close()

    def waiting(self) -> list[Path]:
        """Files in the watched folder that were not moved yet."""
        moved = (self.inbox / "done", self.inbox / "quarantine")
        return [path for path in self.inbox.rglob("*") if path.is_file() and not any(one in path.parents for one in moved)]

    def done(self) -> dict[str, bytes]:
        """Answered files by name."""
        return {path.name: path.read_bytes() for path in (self.inbox / "done").rglob("*") if path.is_file()}

    def quarantined(self) -> dict[str, dict[str, object]]:
        """Refused files by name, with what NAME.json says."""
        folder = self.inbox / "quarantine"
        found = (path for path in folder.rglob("*") if path.is_file())
        reasons = {path.name: path for path in found}
        return {
            name: msgspec.json.decode(reasons[f"{name}.json"].read_bytes()) for name in reasons if f"{name}.json" in reasons
        }

    def children(self) -> list[int]:
        """Process ids of its direct children."""
        try:
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except OSError:  # it has ended
            return []
