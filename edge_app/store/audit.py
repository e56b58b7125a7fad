"""The audit log: a chain of hashes over what changed and over every kept answer.

Each row's hash is over the hash before it and all of its own columns; its `digest` is over the entries since the row before,
with all their columns but the random key. So a row that is edited, removed, inserted or moved breaks the chain there, and so
does an answer that is changed after the next row was written.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from limiar.edge_app.system.files import read_bounded

Rows = Callable[[str, Sequence[object]], Iterable[tuple[object, ...]]]  # a statement and its values -> rows

START = bytes(32)  # the hash before the first row
TABLES = {
    "file": ("results", "sequence"),
    "frame": ("camera_results", "id"),
    "refusal": ("refusals", "id"),
    "review": ("reviews", "id"),
}
_AT_ONCE = 500
_HEAD_BYTES = 4096

# Kinds of rows that the check reads.
REPLACED = "replaced"  # answers that `--again` replaced: entry -> hash before and after
RETENTION = "retention"  # entries were removed to save space: "upto"; digest "rest" of those left up to "end"
PUT_BACK = "put-back"  # the head was not in the log: an older copy of the database had been put back

_LAST = "SELECT id, hash, entry FROM audit ORDER BY id DESC LIMIT 1"
_ENTRIES = "SELECT id, kind, row FROM entries WHERE id > ? AND id <= ? ORDER BY id"
_ENCODER = msgspec.msgpack.Encoder()


class Row(Struct, frozen=True):
    """A row of the audit log."""

    id: int  # 1, 2, 3 …: rows are never removed
    time: str  # UTC, by the device's clock
    boot_id: str
    kind: str
    detail: str  # JSON, text to text
    entry: int  # the last one that `digest` covers
    digest: bytes  # of the entries since the row before
    hash: bytes

    def hash_after(self, before: bytes) -> bytes:
        """What `hash` must be. before: that of the row before."""
        return row_hash(before, (self.time, self.boot_id, self.kind, self.detail, self.entry, self.digest))


class Head(Struct, frozen=True, forbid_unknown_fields=True):
    """The end of the log, in a file beside the database."""

    id: int
    hash: bytes

    def is_in(self, found: object) -> bool:
        """found: hash_of_row(rows, id)."""
        return self.hash == found


def head_path(database: Path) -> Path:
    """The head of a database's audit log."""
    return database.with_name(f"{database.name}.head")


def read_head(path: Path) -> Head | None:
    """None if there is none; one that cannot be read is in no log."""
    try:
        return msgspec.json.decode(read_bounded(path, _HEAD_BYTES), type=Head)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError):
        return Head(0, b"")


def log(rows: Rows) -> list[Row]:
    """The whole log. Raises MsgspecError."""
    names = Row.__struct_fields__
    found = rows(f"SELECT {', '.join(names)} FROM audit ORDER BY id", ())  # noqa: S608 names of our own
    return [msgspec.convert(dict(zip(names, row, strict=True)), Row) for row in found]


def last(rows: Rows) -> tuple[int, bytes, int]:
    """The ID and hash of the last audit row, and the last entry that is covered."""
    for number, found, entry in rows(_LAST, ()):
        assert isinstance(number, int)
        assert isinstance(found, bytes)
        assert isinstance(entry, int)
        return number, found, entry
    return 0, START, 0


def row_hash(before: bytes, columns: Sequence[object]) -> bytes:
    """sha256 over the hash before and `time` to `digest` of a row, as MessagePack."""
    return hashlib.sha256(before + _ENCODER.encode(list(columns))).digest()


def hash_of_row(rows: Rows, number: int) -> object:
    """The hash of an audit row; None if there is none."""
    return next((found for (found,) in rows("SELECT hash FROM audit WHERE id = ?", (number,))), None)


def entry_hash(rows: Rows, entry: int) -> bytes:
    """The sha256 of all that is kept of an entry; empty if there is none."""
    return next((found for _, found in entry_hashes(rows, entry - 1, entry)), b"")


def entry_hashes(rows: Rows, after: int, upto: int) -> Iterator[tuple[int, bytes]]:
    """Of each entry in this range: its ID, and the sha256 of all that is kept of it."""
    block: list[tuple[int, str, int]] = []
    for entry, kind, row in rows(_ENTRIES, (after, upto)):
        block.append((entry, kind, row))  # type: ignore[arg-type]  # as the columns are STRICT
        if len(block) == _AT_ONCE:
            yield from _hashed(rows, block)
            block = []
    if block:
        yield from _hashed(rows, block)


def _hashed(rows: Rows, block: list[tuple[int, str, int]]) -> Iterator[tuple[int, bytes]]:
    kept: dict[tuple[str, int], dict[str, object]] = {}
    for kind, (table, key) in TABLES.items():
        if of := [row for _, one, row in block if one == kind]:
            for columns in _columns(rows, table, key, of):
                kept[kind, int(str(columns[key]))] = columns
    for name, table in (("bundle", "bundles"), ("run", "runs")):
        # What it refers to, not the number, which means nothing outside this database.
        used = {columns[name] for columns in kept.values() if name in columns}
        meant = {columns.pop("id"): columns for columns in _columns(rows, table, "id", list(used))}
        for columns in meant.values():
            columns.pop("verified", None)  # by whom when it was last used: that changes
        for columns in kept.values():
            if name in columns:
                columns[name] = meant.get(columns[name])
    for entry, kind, row in block:
        whole = _ENCODER.encode((entry, kind, row, kept.get((kind, row))))
        yield entry, hashlib.sha256(whole).digest()


def _columns(rows: Rows, table: str, key: str, of: Sequence[object]) -> Iterator[dict[str, object]]:
    """Rows by the names of their columns, without those that are NULL: a later version of limiar may add some."""
    if not of:
        return
    names = [str(name) for (name,) in rows("SELECT name FROM pragma_table_info(?)", (table,))]
    where = f"{key} IN ({', '.join('?' * len(of))})"
    for row in rows(f"SELECT {', '.join(names)} FROM {table} WHERE {where}", of):  # noqa: S608 no value of the database is in it
        yield {name: value for name, value in zip(names, row, strict=True) if value is not None}


def digest(hashes: Iterable[bytes]) -> bytes:
    """The sha256 over the hashes of a range."""
    whole = hashlib.sha256()
    for one in hashes:
        whole.update(one)
    return whole.digest()
