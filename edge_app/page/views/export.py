"""What is kept, for a spreadsheet or a program: with the filters of the results."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import msgspec
from flask import Blueprint, Response
from werkzeug.exceptions import ServiceUnavailable

from limiar.edge_app.output.lines import json_lines
from limiar.edge_app.page.asked import asked
from limiar.edge_app.page.here import here
from limiar.edge_app.results.lines import ResultLine, csv_header, csv_line, result_line
from limiar.edge_app.store.reader import Filter, Reader
from limiar.edge_app.store.state import DATABASE

export = Blueprint("export", __name__)

_AT_ONCE = 100  # entries of one read: a long one would keep the store's log from being shortened, and its lines are in memory
_free = threading.BoundedSemaphore(2)  # a slow browser keeps a thread, and other threads must be left for everyone else
_AGAIN_S = 10


@export.get("/results.csv")
def csv() -> Response:
    """A spreadsheet in which no program finds a formula."""
    return _sent("csv", "text/csv", csv_line, csv_header())


@export.get("/results.jsonl")
def jsonl() -> Response:
    """The lines of `limiar results --json`."""
    return _sent("jsonl", "application/jsonl", lambda line: json_lines([line]))


def _sent(kind: str, mimetype: str, line: Callable[[ResultLine], bytes], header: bytes = b"") -> Response:
    which, path = asked().which, here.settings.state / DATABASE
    here.reader()  # without a store, say so before anything is sent
    if not _free.acquire(blocking=False):
        raise ServiceUnavailable(retry_after=_AGAIN_S)
    begun = ExitStack()
    begun.callback(_free.release)

    def chunks() -> Iterator[bytes]:
        with begun:
            yield header
            for block in _blocks(Reader(path), which):
                yield b"".join(map(line, block))

    headers = {"Content-Disposition": f'attachment; filename="limiar-results.{kind}"'}
    response = Response(chunks(), mimetype=mimetype, headers=headers)
    response.call_on_close(begun.close)  # of HEAD, nothing is made
    return response


def _blocks(opened: Reader, which: Filter) -> Iterator[list[ResultLine]]:
    """In their order, up to the last entry that is there at the start."""
    with opened as reader:
        which = msgspec.structs.replace(which, before=reader.sequence + 1)
        while block := list(reader.entries(which, limit=_AT_ONCE)):
            yield list(map(result_line, block))
            which = msgspec.structs.replace(which, after=block[-1].id)
