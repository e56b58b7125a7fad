"""Kept answers as JSON lines and as rows of a spreadsheet, with the keys of `limiar scan`."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TypeVar

from msgspec import Struct

from limiar.edge_app.answer import Peak, SlicePlace
from limiar.edge_app.output.lines import path_fields
from limiar.edge_app.output.tile_lines import TilesLine, tiles_line
from limiar.edge_app.store.reader import Entry, Review
from limiar.edge_app.text import csv_row, for_csv

_T = TypeVar("_T")


class ResultLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A kept answer or refusal. As JSON, a key that is None is left out."""

    id: int  # what `limiar results show` takes
    kind: str  # "file", "frame" or "refusal"
    source: str | None = None
    path: str | None = None
    path_base64: str | None = None  # the path's bytes, if they are not UTF-8
    sha256: str | None = None  # of an image file
    decision: str
    label: str | None = None
    confidence: float | None = None
    probabilities: dict[str, float] | None = None
    outside: tuple[str, ...] | None = None
    frame: int | None = None  # from 1, of a file with several pictures
    dicom: SlicePlace | None = None  # where a DICOM picture lies
    tiles: TilesLine | None = None  # of a picture that was answered by tiles
    peaks: tuple[Peak, ...] | None = None  # of its map, the largest score first
    code: str | None = None
    message: str | None = None
    reviewed: str | None = None  # the label that a person gave it last
    review: Review | None = None
    time: str
    sequence: int | None = None  # of a frame
    frames: int | None = None  # that its decision is of
    agreeing: int | None = None  # of these
    spread: float | None = None  # of the label's probability over them
    kept: str | None = None  # its picture, below frames/ in the state folder
    bundle: str
    name: str
    version: str
    file: str
    runtime: str
    verified: str | None = None
    app: str
    app_sha256: str | None = None


_COLUMNS = (
    *("id", "kind", "source", "path", "sha256", "decision", "label", "confidence", "reviewed", "code", "message", "outside"),
    *("time", "sequence", "frames", "agreeing", "spread", "kept", "bundle", "name", "version", "file", "runtime", "app"),
    *("frame", "peaks"),
)


def result_line(entry: Entry) -> ResultLine:
    """The line of an entry."""
    path, base64 = (None, None) if entry.path is None else path_fields(entry.path)
    shared = {name: getattr(entry, name) for name in ResultLine.__struct_fields__ if name in Entry.__struct_fields__}
    shared |= {"path": path, "path_base64": base64, "reviewed": reviewed_label(entry)}
    shared["tiles"] = tiles_line(entry.tiles) if entry.tiles else None
    return ResultLine(**shared, sha256=entry.image_sha256.hex() if entry.image_sha256 else None)


def reviewed_label(entry: Entry) -> str | None:
    """The label that a person gave it last; None if nobody did."""
    if entry.review is None:
        return None
    return entry.label if entry.review.label is None else entry.review.label


def csv_header(*first: str) -> bytes:
    """The first line of a spreadsheet. first: further columns, before its own."""
    return csv_row((*first, *_COLUMNS)).encode()


def csv_line(line: ResultLine, *first: object) -> bytes:
    """A row in which no program finds a formula."""
    return csv_row(for_csv(cell) for cell in (*first, *_cells(line))).encode()


def _cells(line: ResultLine) -> Iterator[object]:
    for column in _COLUMNS:
        value = getattr(line, column)
        if column == "peaks" and value is not None:
            yield len(value)
        else:
            yield "" if value is None else " ".join(value) if isinstance(value, tuple) else value


def begun(items: Iterable[_T]) -> Iterator[_T]:
    """The same, the first one already taken: what is wrong with a database is said before the head of a table."""
    rest = iter(items)
    return chain(list(islice(rest, 1)), rest)
