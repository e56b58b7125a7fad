"""A command of limiar that runs beside a test: started, killed, ended in order, waited for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

REAL = "from limiar.edge_app.cli import main; main()"


class RunningCommand:
    """Use as a context manager, or start and end it yourself."""

    def __init__(self, words: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None) -> None:
        """words: after `limiar`. log: what it prints is added to it. environment: more variables."""
        self.log, self.script = log, REAL  # what Python runs in place of the command
        self.around: Sequence[str | Path] = ()  # a command that becomes the one that follows it, without a process of its own
        self.process: subprocess.Popen[bytes] | None = None
        self._words, self._environment = words, environment or {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.kill()

    def start(self) -> None:
        """Starts it, without waiting."""
        command = [*self.around, sys.executable, "-P", "-c", self.script, *self._words]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env={**os.environ, **self._environment})

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
        end = time.monotonic() + 30
        while any(os.path.exists(f"/proc/{pid}/exe") for pid in family) and time.monotonic() < end:  # the kernel ends them
            time.sleep(0.01)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ends it in order; returns its exit status."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(60)

    def wait(self, until: Callable[[], object], seconds: float = 120.0) -> None:
        """Waits until something is true. Raises AssertionError with the log if it does not become so, or the command ended."""
        end = time.monotonic() + seconds
        while not until():
            assert self.process
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log.read_text()}"
            assert time.monotonic() < end, self.log.read_text()[-4000:]
            time.sleep(0.02)

    def children(self) -> list[int]:
        """Process ids of its direct children."""
        try:
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except OSError:  # it has ended
            return []
