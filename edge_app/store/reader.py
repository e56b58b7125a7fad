"""Reads the results database beside the process that writes it: for `limiar results`, `limiar status` and the page.

The connection is read-only: it changes nothing, makes no file of its own but SQLite's index of the journal, and keeps no one
from writing.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self, TypeVar

import msgspec
from msgspec import Struct

from limiar.edge_app.answer import Peak, SlicePlace, TileMap
from limiar.edge_app.errors import StoreError, printable
from limiar.edge_app.store.columns import outside_of, peaks_of, place_of, probabilities_of, tiles_of
from limiar.edge_app.store.database import APPLICATION_ID
from limiar.edge_app.store.schema import HOLDS, MIGRATIONS

Kind = Literal["file", "frame", "refusal"]

_FIRST = 8  # the first schema with keys of entries and an outbox
_MORE = 1 << 63  # than any ID of SQLite
_WAIT_S = 5.0  # for the writer, while it makes the database or puts its journal into it

_READERS: dict[str, Callable[[object], object]] = {
    "probabilities": probabilities_of,
    "outside": outside_of,
    "dicom": place_of,
    "tiles": tiles_of,
    "peaks": peaks_of,
}

_FROM = f"""
    FROM entries e
    LEFT JOIN results r ON e.kind = 'file' AND r.sequence = e.row
    LEFT JOIN camera_results c ON e.kind = 'frame' AND c.id = e.row
    LEFT JOIN refusals f ON e.kind = 'refusal' AND f.id = e.row
    LEFT JOIN reviews v ON v.id = {HOLDS.replace("?", "e.id")}"""
_SOURCE = "coalesce(r.source, c.source, f.source)"
ENTRIES = f"""
    SELECT e.id, e.kind, {_SOURCE},
        coalesce(r.path, f.path), coalesce(r.image_sha256, f.image_sha256),
        coalesce(r.decision, c.decision, 'refused'), coalesce(r.label, c.label), coalesce(r.confidence, c.confidence),
        coalesce(r.probabilities, c.probabilities), coalesce(r.outside, c.outside), f.code, f.message,
        coalesce(r.time, c.taken, f.time), r.frame, r.place, r.map, r.peaks,
        c.sequence, c.frames, c.agreeing, c.spread, c.kept, c.kept_sha256,
        b.sha256, b.name, b.version, b.file, b.runtime, b.verified, coalesce(r.app, c.app, u.app), u.app_sha256,
        v.id, v.label, v.by, v.why, v.time
    {_FROM}
    LEFT JOIN bundles b ON b.id = coalesce(r.bundle, c.bundle, f.bundle)
    LEFT JOIN runs u ON u.id = coalesce(r.run, c.run, f.run)"""


class Review(Struct, frozen=True, omit_defaults=True):
    """What a person said about an answer."""

    label: str | None  # None: the model's label is right
    by: str
    why: str
    time: str  # UTC, by the device's clock
    undone_by: str | None = None  # who took it back
    id: int = 0  # of the review itself


class Entry(Struct, frozen=True, kw_only=True):
    """An answer, or why there is none, as it was kept."""

    id: int  # the order of everything
    kind: Kind
    source: str | None  # the service's name of a folder or camera; of other cameras their address; None: a scan's file
    path: bytes | None  # of a file, where it was first seen
    image_sha256: bytes | None  # of a file
    decision: str  # a label, "refer" or "refused"
    label: str | None  # this and the next four are None if it was refused
    confidence: float | None
    probabilities: dict[str, float] | None
    outside: tuple[str, ...] | None
    code: str | None  # of a refusal
    message: str | None
    time: str  # UTC, by the device's clock
    frame: int | None  # from 1, of a file with several pictures
    dicom: SlicePlace | None  # where a DICOM picture lies
    tiles: TileMap | None  # of a picture that was answered by tiles
    peaks: tuple[Peak, ...] | None
    sequence: int | None  # of a frame: this and the next five
    frames: int | None  # that the decision is of; None: of this one alone
    agreeing: int | None
    spread: float | None
    kept: str | None  # the picture, below frames/ in the state folder
    kept_sha256: bytes | None
    bundle: str  # sha256 of its manifest
    name: str
    version: str
    file: str  # model file
    runtime: str
    verified: str | None
    app: str
    app_sha256: str | None  # of the files that ran; None: an older limiar did not keep it
    review: Review | None  # the last one


class Reviewed(NamedTuple):
    """A label that people gave to answers of the same decision and label."""

    decision: str  # the device's
    label: str  # the model's
    given: str  # the label that a person gave, which may be the model's
    times: int


class Filter(Struct, frozen=True, kw_only=True):
    """Which entries: those that fit everything that is given."""

    after: int = 0  # entries with a higher ID
    before: int | None = None  # entries with a lower ID
    since: str | None = None  # of this time or later: "2026-11-27", "2026-11-27T15:00"
    kinds: tuple[Kind, ...] = ("file", "frame", "refusal")
    decision: str | None = None  # a label, "refer" or "refused"
    label: str | None = None
    source: str | None = None
    confidence: tuple[float, float] | None = None  # from, to
    reviewed: bool | None = None


_Kept = TypeVar("_Kept", Entry, Review)


class Reader:
    """A results database, open for reading. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError: there is none, it is not limiar's, is damaged, or has another schema."""
        self.path = path
        where = printable(str(path))
        if not path.is_file():
            raise StoreError(
                "E-STORE-MISSING", f"there is no results database {where}: give one with --db, or answer images first"
            )
        try:
            self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_WAIT_S, isolation_level=None)
        except sqlite3.Error as error:
            raise StoreError("E-STORE-READ", f"{where}: {error}: check that this user can read it") from None
        try:
            self._check(where)
        except BaseException:
            self._db.close()
            raise

    def _check(self, where: str) -> None:
        ((owner,),) = self.rows("PRAGMA application_id")
        ((schema,),) = self.rows("PRAGMA user_version")
        assert isinstance(schema, int)
        if owner != APPLICATION_ID and schema == 0:
            raise StoreError("E-STORE-FOREIGN", f"{where} is not a results database of limiar: give another --db")
        if schema > len(MIGRATIONS):
            met = f"{where} has schema {schema}, this limiar knows {len(MIGRATIONS)}"
            raise StoreError("E-STORE-NEWER", f"{met}: use a newer limiar, or another --db")
        if schema < _FIRST:
            met = f"{where} was written by an older limiar, and reading does not change it"
            raise StoreError("E-STORE-OLDER", f"{met}: answer an image with this limiar, which brings it up to date")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._db.close()

    def entries(self, which: Filter, *, newest: bool = False, limit: int = -1) -> Iterator[Entry]:
        """Entries in their order, or the newest first; at most `limit`, -1 for all. Raises StoreError."""
        conditions, values = _conditions(which)
        order = f"ORDER BY e.id {'DESC' if newest else 'ASC'} LIMIT ?"
        for row in self._iterate(f"{ENTRIES} WHERE {conditions} {order}", (*values, limit)):
            yield self.entry_of(row)

    def count(self, which: Filter, upto: int | None = None) -> int:
        """How many entries fit; with `upto`, it stops at one more than that. Raises StoreError."""
        conditions, values = _conditions(which)
        # SQLite leaves out the joins that the conditions do not need.
        limit = -1 if upto is None else upto + 1
        sql = f"SELECT count(*) FROM (SELECT 1 {_FROM} WHERE {conditions} LIMIT ?)"  # noqa: S608 of our own
        ((found,),) = self.rows(sql, (*values, limit))
        return int(str(found))

    def reviewed(self, which: Filter) -> list[Reviewed]:
        """What people said about the entries that fit, counted. Raises StoreError."""
        conditions, values = _conditions(which)
        columns = "coalesce(r.decision, c.decision), coalesce(r.label, c.label), coalesce(v.label, r.label, c.label), count(*)"
        # Few are reviewed: SQLite then looks up these, not every entry.
        only = "v.id IS NOT NULL AND e.id IN (SELECT entry FROM reviews)"
        sql = f"SELECT {columns} {_FROM} WHERE {only} AND {conditions} GROUP BY 1, 2, 3"
        return [Reviewed(str(row[0]), str(row[1]), str(row[2]), int(str(row[3]))) for row in self.rows(sql, values)]

    def latest_by_source(self, within: int = 1000) -> dict[str, int]:
        """The last entry of each source among the newest `within` entries; of a scan's files: "". Raises StoreError."""
        newest = f"SELECT e.id AS id, {_SOURCE} AS source {_FROM} WHERE e.kind != 'review' ORDER BY e.id DESC LIMIT ?"
        sql = f"SELECT coalesce(source, ''), max(id) FROM ({newest}) GROUP BY 1"  # noqa: S608 of our own
        found = self.rows(sql, (within,))
        return {str(source): int(str(entry)) for source, entry in found}

    def entry(self, number: int) -> Entry:
        """One entry. Raises StoreError E-RESULT-MISSING."""
        rows = self.rows(f"{ENTRIES} WHERE e.id = ? AND e.kind != 'review'", (number,)) if number < _MORE else []
        if not rows:
            raise StoreError("E-RESULT-MISSING", f"no answer has the ID {number}: `limiar results` lists them")
        return self.entry_of(rows[0])

    def reviews(self, number: int) -> list[Review]:
        """What people said about an entry, in order. Raises StoreError."""
        undone = "(SELECT x.by FROM reviews x WHERE x.entry = w.entry AND x.takes_back = w.id)"
        columns = f"label, by, why, time, {undone}, id"
        sql = f"SELECT {columns} FROM reviews w WHERE entry = ? AND takes_back IS NULL ORDER BY id"  # noqa: S608 of our own
        found = self.rows(sql, (number,))
        return [self._converted(dict(zip(Review.__struct_fields__, row, strict=True)), Review) for row in found]

    @property
    def sequence(self) -> int:
        """The last entry; 0 if there is none. Raises StoreError."""
        ((found,),) = self.rows("SELECT coalesce(max(id), 0) FROM entries")
        return int(str(found))

    @contextlib.contextmanager
    def moment(self) -> Iterator[None]:
        """What is read within it is as it was at one moment, whatever is written meanwhile. Raises StoreError."""
        self.rows("BEGIN")
        try:
            yield
        finally:
            self._db.rollback()

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """All rows of a statement. Raises StoreError."""
        return list(self._iterate(sql, values))

    def _iterate(self, sql: str, values: Sequence[object]) -> Iterator[tuple[object, ...]]:
        try:
            with contextlib.closing(self._db.execute(sql, values)) as cursor:
                yield from cursor
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> StoreError:
        where = printable(str(self.path))
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreError("E-STORE-BUSY", f"{where} is locked by another program: try again")
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return StoreError(
                "E-STORE-READ", f"{where}: {printable(str(error))}: check that this user can read it and its folder"
            )
        met = f"{where}: {printable(str(error))}"
        return StoreError("E-STORE-DAMAGED", f"{met}: stop what writes to it and restore a copy (docs/store.md)")

    def entry_of(self, row: Sequence[object]) -> Entry:
        """Of a row of ENTRIES. Raises StoreError."""
        names = Entry.__struct_fields__
        fields = dict(zip(names[:-1], row[: len(names) - 1], strict=True))
        review = dict(zip(("id", "label", "by", "why", "time"), row[len(names) - 1 :], strict=True))
        try:
            for name, read in _READERS.items():
                fields[name] = read(fields[name])
        except (ValueError, msgspec.MsgspecError) as error:
            raise self._broken(error) from None
        for name in ("bundle", "app_sha256"):
            if isinstance(value := fields[name], bytes):
                fields[name] = value.hex()
        fields["review"] = None if review["id"] is None else review
        return self._converted(fields, Entry)

    def _converted(self, fields: dict[str, object], kind: type[_Kept]) -> _Kept:
        try:
            return msgspec.convert(fields, kind)
        except msgspec.MsgspecError as error:
            raise self._broken(error) from None


def _conditions(which: Filter) -> tuple[str, list[object]]:
    """SQL and its values."""
    parts = ["e.id > ?", f"e.kind IN ({', '.join('?' * len(which.kinds))})"]
    values: list[object] = [which.after, *which.kinds]

    def both(sql: str, *given: object) -> None:
        parts.append(sql)
        values.extend(given)

    if which.before is not None:
        both("e.id < ?", which.before)
    if which.since is not None:
        both("coalesce(r.time, c.taken, f.time) >= ?", which.since)
    if which.decision is not None:
        both("coalesce(r.decision, c.decision, 'refused') = ?", which.decision)
    if which.label is not None:
        both("coalesce(r.label, c.label) = ?", which.label)
    if which.source is not None:
        both(f"{_SOURCE} = ?", which.source)
    if which.confidence is not None:
        both("coalesce(r.confidence, c.confidence) BETWEEN ? AND ?", *which.confidence)
    if which.reviewed is not None:
        both(f"v.id IS {'NOT ' if which.reviewed else ''}NULL")
    return " AND ".join(parts), values
