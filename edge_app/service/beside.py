"""What a service does beside answering: metrics, the page, the uplink to a fleet; what is over the limits of [keep] is deleted.

Nothing here stops it: what fails is logged, and tried again.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from limiar.edge_app.errors import LimiarError
from limiar.edge_app.health.log import Log
from limiar.edge_app.health.publish import Exporter, Textfile
from limiar.edge_app.health.status import Status
from limiar.edge_app.service.config import Config
from limiar.edge_app.service.keeping import Keeping, Tidied
from limiar.edge_app.service.page_child import page_child
from limiar.edge_app.service.uplink_child import uplink_child
from limiar.edge_app.text import counted

_AGAIN_S = 60.0  # after a port was taken


class Beside:
    """Use `close` at the end: it frees the port, and ends the processes."""

    def __init__(
        self, config: Config, state: Path, trusted: Callable[[], bool], status: Callable[[], Status], log: Log
    ) -> None:
        """trusted: whether the clock is."""
        self._log, self._status, self._listen = log, status, config.health.listen
        self._exporter: Exporter | None = None
        self._listen_at = time.monotonic()
        self._textfile = Textfile(Path(config.health.textfile), status) if config.health.textfile else None
        self._keeping = Keeping(config, state, trusted)
        children = (page_child(config, state, log), uplink_child(config, state, log))
        self._children = tuple(child for child in children if child)

    def turn(self) -> tuple[Tidied, ...]:
        """What does not wait; returns what was deleted. Raises nothing."""
        self._serve()
        for child in self._children:
            child.turn()
        if self._textfile:
            try:
                if self._textfile.turn():
                    self._log.over("textfile", "the metrics are written again")
            except LimiarError as error:
                self._log.state("textfile", "error", error.code, error.message)
        try:
            tidied = self._keeping.turn()
        except OSError as error:  # no process is left; the next turn tries again
            self._log.state("keep", "error", "E-MACHINE-LIMIT", f"nothing is deleted: {error.strerror}")
            return ()
        for one in tidied:
            if one.error:
                self._log.state(
                    f"keep {one.place}", "error", "E-OUTPUT-WRITE", f"{one.place}: {one.error}: nothing is deleted there"
                )
            else:
                self._log.over(f"keep {one.place}", f"{one.place} can be looked through again")
            if one.removed.files:
                size = f"{one.removed.bytes / 1e6:.1f} MB"
                self._log.info("I-KEEP", f"{one.place}: {counted(one.removed.files, 'old file')} deleted, {size}")
        return tuple(one for one in tidied if one.removed.files)

    def close(self) -> None:
        """Frees the port, and ends the processes."""
        with suppress(OSError):
            self._keeping.__exit__()
        if self._exporter:
            self._exporter.__exit__()
        for child in self._children:
            child.close()

    def _serve(self) -> None:
        if self._exporter:
            self._exporter.turn()
        elif self._listen and time.monotonic() >= self._listen_at:
            self._listen_at = time.monotonic() + _AGAIN_S
            try:
                self._exporter = Exporter(self._listen, self._status)
                self._log.over("metrics", "the metrics are served again")
            except LimiarError as error:
                self._log.state("metrics", "error", error.code, error.message)
