"""Serves the page until SIGTERM or Ctrl-C."""

import contextlib
import ctypes
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from types import FrameType
from typing import NoReturn

import msgspec
from flask import Flask
from waitress.adjustments import Adjustments

from limiar.edge_app import exit_status
from limiar.edge_app.errors import LimiarError, printable
from limiar.edge_app.page import structs
from limiar.edge_app.page.access import Access
from limiar.edge_app.page.app import make_app
from limiar.edge_app.page.connections import CONNECTIONS, Server, Taken
from limiar.edge_app.page.here import open_site
from limiar.edge_app.page.settings import PageSettings
from limiar.edge_app.page.uploads import FORM_BYTES, channel

_THREADS = 4
_IDLE_S = 15  # a connection on which nothing comes or goes is closed
_CLEANUP_S = 1
_HEADER_BYTES = 16 << 10
_BODY_BYTES = FORM_BYTES + 1  # waitress refuses a body of this size; uploads.py says which may be larger
_BUFFERED = 256 << 10  # bytes in memory: more of a body are in a file, more of an answer are made once these are sent
_NICE = 10  # answers come first
_M_ARENA_MAX = -8  # glibc's malloc.h


def serve(settings: PageSettings, told: Callable[[str], None]) -> int:
    """told: gets the page's address, once a browser can open it. Returns the exit status. Raises LimiarError."""
    logging.getLogger("waitress").setLevel(logging.ERROR)
    _share_one_heap()
    os.nice(_NICE)
    access = Access(settings.state)
    if settings.asks_token and access.kept.token_sha256 is None:
        met = f"the page on {settings.address} asks for a token, and none was made yet"
        raise LimiarError("E-PAGE-TOKEN", f"{met}: make one with `limiar page --new-token`")
    front = _front(settings)
    listening = _listen(settings)
    structs.learn()  # before the first thread
    settings = msgspec.structs.replace(settings, port=listening.getsockname()[1])
    with listening, open_site(settings) as site:
        tempfile.tempdir = str(settings.state)  # for what does not fit in memory: see uploads.py
        app = make_app(site)
        server = _server(app, listening, tls=front is not None)
        ended: list[int] = []

        def end(number: int, _: FrameType | None) -> NoReturn:
            ended.append(number)
            raise SystemExit  # which waitress takes as the end

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        with closing(server), front(listening, server.take) if front else nullcontext():
            told(settings.url)
            server.run()
    return exit_status.INTERRUPTED if signal.SIGINT in ended else 0


def _share_one_heap() -> None:
    """glibc gives each thread a heap of its own, and each keeps what its largest answer took: 12 MB after a few exports."""
    with contextlib.suppress(AttributeError):  # another libc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _front(settings: PageSettings) -> Callable[[socket.socket, Taken], AbstractContextManager[object]] | None:
    """What speaks TLS, if there is a certificate. Raises LimiarError E-PAGE-CERTIFICATE."""
    if settings.certificate is None or settings.key is None:
        return None
    from limiar.edge_app.page.tls import Front, context  # 8 MB

    return partial(Front, context(settings.certificate, settings.key))


def _server(app: Flask, listening: socket.socket, tls: bool) -> Server:
    """tls: someone else accepts, decrypts, and gives what comes to `take`."""
    adjustments = Adjustments(
        threads=_THREADS,
        connection_limit=2 * CONNECTIONS,  # with those that are being closed
        channel_timeout=_IDLE_S,
        cleanup_interval=_CLEANUP_S,
        max_request_header_size=_HEADER_BYTES,
        max_request_body_size=_BODY_BYTES,
        inbuf_overflow=_BUFFERED,
        outbuf_high_watermark=_BUFFERED,
        asyncore_use_poll=True,  # select would fail if `maintenance` closes a connection that it is about to look at
        ident=None,
        clear_untrusted_proxy_headers=True,
        url_scheme="https" if tls else "http",
    )
    sockinfo = (listening.family, listening.type)
    server = Server(app, {}, _start=not tls, _sock=listening, bind_socket=False, sockinfo=sockinfo, adj=adjustments)
    server.channel_class = channel(app, server.adj)
    return server


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
