"""Serves the page until SIGTERM or Ctrl-C."""

import logging
import signal
import socket
import tempfile
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import msgspec
import waitress.server

from limiar.edge_app import exit_status
from limiar.edge_app.errors import LimiarError, printable
from limiar.edge_app.page.access import Access
from limiar.edge_app.page.app import make_app
from limiar.edge_app.page.here import open_site
from limiar.edge_app.page.settings import PageSettings
from limiar.edge_app.page.uploads import FORM_BYTES, channel

_THREADS = 4
_CONNECTIONS = 500  # open at once; more wait in the kernel's queue
_IDLE_S = 15  # a connection on which nothing comes or goes is closed
_CLEANUP_S = 3
_HEADER_BYTES = 16 << 10
_BODY_BYTES = FORM_BYTES + 1  # waitress refuses a body of this size; uploads.py says which may be larger
_BUFFERED = 256 << 10  # bytes of a body in memory; more are in a temporary file


def serve(settings: PageSettings, told: Callable[[str], None]) -> int:
    """told: gets the page's address, once a browser can open it. Returns the exit status. Raises LimiarError."""
    logging.getLogger("waitress").setLevel(logging.ERROR)
    access = Access(settings.state)
    if settings.asks_token and access.kept.token_sha256 is None:
        met = f"the page on {settings.address} asks for a token, and none was made yet"
        raise LimiarError("E-PAGE-TOKEN", f"{met}: make one with `limiar page --new-token`")
    listening = _listen(settings)
    settings = msgspec.structs.replace(settings, port=listening.getsockname()[1])
    with listening, open_site(settings) as site:
        tempfile.tempdir = str(settings.state)  # for what does not fit in memory: see uploads.py
        app = make_app(site)
        server = waitress.server.create_server(
            app,
            sockets=[listening],
            threads=_THREADS,
            connection_limit=_CONNECTIONS,
            channel_timeout=_IDLE_S,
            cleanup_interval=_CLEANUP_S,
            max_request_header_size=_HEADER_BYTES,
            max_request_body_size=_BODY_BYTES,
            inbuf_overflow=_BUFFERED,
            asyncore_use_poll=True,
            ident=None,
            clear_untrusted_proxy_headers=True,
        )
        server.channel_class = channel(app, server.adj)
        ended: list[int] = []

        def end(number: int, _: FrameType | None) -> NoReturn:
            ended.append(number)
            raise SystemExit  # which waitress takes as the end

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        told(settings.url)
        try:
            server.run()
        finally:
            server.close()
    return exit_status.INTERRUPTED if signal.SIGINT in ended else 0


def _listen(settings: PageSettings) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in settings.address else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.address, settings.port))
        listening.setblocking(False)
        listening.listen(128)
    except OSError as error:
        listening.close()
        met = f"{printable(settings.address)}:{settings.port}: {error.strerror}"
        raise LimiarError("E-PAGE-LISTEN", f"{met}: give --listen a free port of this machine") from None
    return listening
