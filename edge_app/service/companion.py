"""A Python program beside the service, such as its page or its uplink: started again if it ends, and never waited for."""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from limiar.edge_app.health.log import Log
from limiar.edge_app.service.backoff import Backoff
from limiar.edge_app.system.python import python_c

_END_S = 2.0  # to end by itself
_WITH_PARENT = """
from limiar.edge_app.system.children import end_with_parent
import signal
end_with_parent(int(sys.argv.pop(1)), signal.SIGTERM)
"""


class Companion:
    """Use `close` at the end."""

    def __init__(self, name: str, ended: str, log: Log, program: str, words: Sequence[str] = (), stdin: bytes = b"") -> None:
        """name: for the log. ended: the code that says that it ended by itself. program: Python; words: its sys.argv.

        stdin: at most 64 KiB.
        """
        self._name, self._ended, self._log = name, ended, log
        self._program, self._words, self._stdin = program, words, stdin
        self._backoff = Backoff()
        self._process: subprocess.Popen[bytes] | None = None

    def turn(self) -> None:
        """Starts it, and again if it has ended. Raises nothing."""
        if self._process and (status := self._process.poll()) is not None:
            self._process = None
            wait_s = self._backoff.failed()
            met = f"the {self._name} ended with status {status}, and is started again in {wait_s:.0f} s"
            self._log.state(self._name, "error", self._ended, f"{met}; its message is above")
        if self._process is None and self._backoff.due:
            self._start()

    def close(self) -> None:
        """Ends it."""
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _start(self) -> None:
        self._backoff.started()
        words = python_c(_WITH_PARENT + self._program, str(os.getpid()), *self._words)
        try:
            # A process group of its own: Ctrl-C reaches the service, which ends it.
            self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0)
        except OSError as error:
            self._backoff.failed()
            self._log.state(self._name, "error", "E-MACHINE-LIMIT", f"the {self._name} cannot be started: {error.strerror}")
            return
        assert self._process.stdin
        with self._process.stdin as stdin, suppress(BrokenPipeError):  # it has ended already, as the next turn sees
            stdin.write(self._stdin)
