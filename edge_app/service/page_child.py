"""`limiar page` beside the service, if the configuration asks for it: a process that nothing here waits for."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from limiar.edge_app.health.log import Log
from limiar.edge_app.service.backoff import Backoff
from limiar.edge_app.service.config import Config
from limiar.edge_app.system.python import python_c

_END_S = 2.0  # to end by itself
_RUN = """
from limiar.edge_app.system.children import end_with_parent
import signal
end_with_parent(int(sys.argv.pop(1)), signal.SIGTERM)
from limiar.edge_app.cli import main
main()
"""


class PageChild:
    """Use `close` at the end."""

    def __init__(self, config: Config, state: Path, log: Log) -> None:
        self._words = tuple(_words(config, state))
        self._log = log
        self._backoff = Backoff()
        self._process: subprocess.Popen[bytes] | None = None

    def turn(self) -> None:
        """Starts it, and again if it has ended. Raises nothing."""
        if self._process and (status := self._process.poll()) is not None:
            self._process = None
            wait_s = self._backoff.failed()
            message = f"the page ended with status {status}, and is started again in {wait_s:.0f} s; its message is above"
            self._log.state("page", "error", "E-PAGE-ENDED", message)
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
        try:
            # A process group of its own: Ctrl-C reaches the service, which ends it.
            self._process = subprocess.Popen(
                python_c(_RUN, str(os.getpid()), *self._words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,
            )
        except OSError as error:
            self._backoff.failed()
            self._log.state("page", "error", "E-MACHINE-LIMIT", f"the page cannot be started: {error.strerror}")


def _words(config: Config, state: Path) -> Iterator[str]:
    """The command line."""
    page = config.page
    yield from ("page", "--listen", page.listen, "--state", str(state))
    for host in page.hosts:
        yield from ("--host", host)
    if page.read_only:
        yield "--read-only"
    if page.token:
        yield "--token"
    if page.certificate:
        yield from ("--certificate", page.certificate, "--key", page.key)
    for key in config.answer.keys:
        yield from ("--trust", key)
    for name in sorted({name for folder in config.folder for name in (folder.done, folder.quarantine)}):
        yield from ("--done", name)
