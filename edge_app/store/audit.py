"""The audit log: a chain of hashes over what changed and over every kept answer.

Each row's hash is over the hash before it and all of its own columns; its `digest` is over the entries since the row before,
with all their columns. So a row that is edited, removed, inserted or moved breaks the chain there, and so does an answer that
is changed after the next row was written.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

Rows = Callable[[str, Sequence[object]], Iterable[tuple[object, ...]]]  # a statement and its values -> rows

START = bytes(32)  # the hash before the first row
TABLES = {
    "file": ("results", "sequence"),
    "frame": ("camera_results", "id"),
    "refusal": ("refusals", "id"),
    "review": ("reviews", "id"),
}
_AT_ONCE = 500

_LAST = "SELECT hash, entry FROM audit ORDER BY id DESC LIMIT 1"
_ENTRIES = "SELECT id, kind, row FROM entries WHERE id > ? AND id <= ? ORDER BY id"
_ENCODER = msgspec.msgpack.Encoder()


def last(rows: Rows) -> tuple[bytes, int]:
    """The hash of the last audit row, and the last entry that is covered."""
    for found, entry in rows(_LAST, ()):
        assert isinstance(found, bytes)
        assert isinstance(entry, int)
        return found, entry
    return START, 0


def row_hash(before: bytes, columns: Sequence[object]) -> bytes:
    """sha256 over the hash before and `time` to `digest` of a row, as MessagePack."""
    return hashlib.sha256(before + _ENCODER.encode(list(columns))).digest()


def entry_hashes(rows: Rows, after: int, upto: int) -> Iterator[tuple[int, str, int, bytes]]:
    """Of each entry in this range: its id, kind, row, and the sha256 of all that is kept of it."""
    block: list[tuple[int, str, int]] = []
    for entry, kind, row in rows(_ENTRIES, (after, upto)):
        block.append((entry, kind, row))  # type: ignore[arg-type]  # as the columns are STRICT
        if len(block) == _AT_ONCE:
            yield from _hashed(rows, block)
            block = []
    yield from _hashed(rows, block)


def _hashed(rows: Rows, block: list[tuple[int, str, int]]) -> Iterator[tuple[int, str, int, bytes]]:
    kept: dict[tuple[str, int], dict[str, object]] = {}
    for kind, (table, key) in TABLES.items():
        if of := [row for _, one, row in block if one == kind]:
            for columns in _columns(rows, table, f"WHERE {key} IN ({', '.join('?' * len(of))})", of):
                kept[kind, int(str(columns[key]))] = columns
    bundles = {columns.pop("id"): columns for columns in _columns(rows, "bundles")}
    runs = {columns.pop("id"): columns for columns in _columns(rows, "runs")}
    for columns in bundles.values():
        columns.pop("verified", None)  # by whom when it was last used
    for entry, kind, row in block:
        columns = kept.get((kind, row), {})
        what = {**columns, "bundle": bundles.get(columns.get("bundle")), "run": runs.get(columns.get("run"))}
        yield entry, kind, row, hashlib.sha256(_ENCODER.encode((entry, kind, row, what))).digest()


def _columns(rows: Rows, table: str, where: str = "", values: Sequence[object] = ()) -> Iterator[dict[str, object]]:
    """Rows by the names of their columns, without those that are NULL: a later version of limiar may add some."""
    names = [str(name) for (name,) in rows("SELECT name FROM pragma_table_info(?)", (table,))]
    for row in rows(f"SELECT {', '.join(names)} FROM {table} {where}", values):  # noqa: S608 no value of the database is in it
        yield {name: value for name, value in zip(names, row, strict=True) if value is not None}


def digest(hashes: Iterable[tuple[int, str, int, bytes]]) -> tuple[int, bytes]:
    """The last entry, 0 for none, and the sha256 over the hashes of a range."""
    entry, whole = 0, hashlib.sha256()
    for number, _, _, one in hashes:
        entry = number
        whole.update(one)
    return entry, whole.digest()
