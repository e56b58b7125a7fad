"""Runs limiar with a database that does not wait for the disk: the power cuts must catch it."""

from pathlib import Path

from limiar.edge_app.cli import main
from limiar.edge_app.store import writer as store

opened = store.Store.__init__


def without_waiting(self: store.Store, path: Path, run: str = "scan") -> None:
    opened(self, path, run)
    self._db.execute("PRAGMA synchronous=OFF")


store.Store.__init__ = without_waiting  # type: ignore[method-assign]
main()
