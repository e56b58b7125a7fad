"""`limiar page` beside the service, if the configuration asks for it."""

from collections.abc import Iterator
from pathlib import Path

from limiar.edge_app.health.log import Log
from limiar.edge_app.service.companion import Companion
from limiar.edge_app.service.config import Config

_PROGRAM = """
from limiar.edge_app.cli import main
main()
"""


def page_child(config: Config, state: Path, log: Log) -> Companion | None:
    """None if the configuration asks for no page."""
    if not config.page.listen:
        return None
    return Companion("page", "E-PAGE-ENDED", log, _PROGRAM, tuple(_words(config, state)))


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
