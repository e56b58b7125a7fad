"""Large bodies. A bundle that a browser uploads may have 512 MiB, and everything else 64 KiB.

waitress receives a whole body before the app sees any of it, so who may send a large one is decided by its headers. What does
not fit in memory goes to a file without a name, in the state folder: /tmp may be memory, and a killed process leaves nothing.
"""

import copy
import shutil
import tempfile
from pathlib import Path
from typing import IO
from weakref import WeakSet

from flask import Flask, Request
from waitress.adjustments import Adjustments

from limiar.edge_app.errors import LimiarError
from limiar.edge_app.page import connections, guard
from limiar.edge_app.page.here import here

PATH = "/bundle/install"
FORM_BYTES = 64 << 10
UPLOAD_BYTES = 512 << 20
_AT_ONCE = 2  # the second is told that the first is being installed
_COPIES = 2  # waitress's, and the file taken out of the form
_FREE_BYTES = 64 << 20  # stay free


def most_bytes(state: Path) -> int:
    """The largest upload that the disk has space for now; may be negative. Raises OSError."""
    return min(UPLOAD_BYTES, (shutil.disk_usage(state).free - _FREE_BYTES) // _COPIES)


class FormRequest(Request):
    """A request whose form may hold a large file if that is what its path is for."""

    @property
    def max_content_length(self) -> int | None:
        return UPLOAD_BYTES if self.path == PATH else super().max_content_length

    @max_content_length.setter
    def max_content_length(self, value: int | None) -> None:
        self._max_content_length = value

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return tempfile.TemporaryFile()


def channel(app: Flask, adj: Adjustments) -> type[connections.Channel]:
    """What waitress, set up as `adj` says, makes of a connection to this app."""
    uploads: WeakSet[connections.Parser] = WeakSet()
    larger = copy.copy(adj)
    larger.max_request_body_size = UPLOAD_BYTES + 1  # waitress refuses a body of this size

    class Parser(connections.Parser):
        def parse_header(self, header_plus: bytes) -> None:
            super().parse_header(header_plus)
            if self.path != PATH or self.command != "POST" or self.content_length <= FORM_BYTES or self.chunked:
                return
            if len(uploads) < _AT_ONCE and _may_send(app, self.headers, self.content_length):
                uploads.add(self)
                self.adj = larger

    class Channel(connections.Channel):
        parser_class = Parser

    return Channel


def _may_send(app: Flask, headers: dict[str, str], count: int) -> bool:
    """Whether a browser that sends these headers is signed in, something may be changed here, and the disk has the space."""
    kept = {name: headers.get(name.upper().replace("-", "_")) for name in ("Cookie", "Host", "Origin", "Sec-Fetch-Site")}
    try:
        with app.test_request_context(PATH, method="POST", headers={name: value for name, value in kept.items() if value}):
            if here.read_only or not guard.known_host() or not guard.entered() or guard.from_elsewhere():
                return False
            return count <= most_bytes(here.settings.state)
    except (LimiarError, OSError):
        return False
