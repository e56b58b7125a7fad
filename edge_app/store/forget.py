"""Removes the oldest answers and refusals, a few at a time.

Those that people reviewed stay, and so do those that a collector has not committed yet.
"""

from collections.abc import Iterator

from msgspec import Struct

from limiar.edge_app.store.audit import TABLES, Rows
from limiar.edge_app.system.clock import NOT_BEFORE_S, iso

STEP = 500  # entries; takes about 10 ms, and the service has other things to do
_NOT_BEFORE = iso(NOT_BEFORE_S * 10**9)

_OLDEST = """
    SELECT e.id, e.kind, e.row, coalesce(r.time, c.taken, f.time)
    FROM entries e
    LEFT JOIN results r ON e.kind = 'file' AND r.sequence = e.row
    LEFT JOIN camera_results c ON e.kind = 'frame' AND c.id = e.row
    LEFT JOIN refusals f ON e.kind = 'refusal' AND f.id = e.row
    WHERE e.kind != 'review' AND NOT EXISTS (SELECT 1 FROM reviews WHERE entry = e.id)
    AND NOT EXISTS (SELECT 1 FROM outbox WHERE entry = e.id)
    ORDER BY e.id LIMIT ?"""


class Old(Struct, frozen=True):
    """An entry that goes."""

    entry: int
    kind: str
    row: int


def chosen(rows: Rows, before: str | None, count: int | None, size: int | None, most: int = STEP) -> list[Old]:
    """Of one step: what is older than the UTC time `before`, beyond `count` entries, or beyond `size` bytes; in their order.

    At most `most`. An entry made while the clock showed an impossible year has the age of the one after it.
    """
    too_many = 0 if count is None else entries(rows) - count
    too_large = size is not None and used_bytes(rows) > size
    gone: list[Old] = []
    ageless: list[Old] = []
    for entry, kind, row, time in list(rows(_OLDEST, (min(most, STEP),))):
        ageless.append(Old(int(str(entry)), str(kind), int(str(row))))
        if too_large or len(gone) + len(ageless) <= too_many or (before is not None and _NOT_BEFORE <= str(time) < before):
            gone += ageless
            ageless.clear()
        elif str(time) >= _NOT_BEFORE:
            break
    return gone


def removed(gone: list[Old]) -> Iterator[tuple[str, int]]:
    """Statements and their value. Pages are used again; the file does not shrink."""
    for kind, (table, key) in TABLES.items():
        for one in gone:
            if one.kind == kind:
                yield f"DELETE FROM {table} WHERE {key} = ?", one.row  # noqa: S608 names of our own
    for one in gone:
        yield "DELETE FROM entries WHERE id = ?", one.entry


def entries(rows: Rows) -> int:
    """How many there are that can be removed at all, or that people reviewed."""
    ((there,),) = rows("SELECT count(*) FROM entries WHERE kind != 'review'", ())
    return int(str(there))


def used_bytes(rows: Rows) -> int:
    """Of the database, without pages that are free to be used again."""
    names = ("page_count", "freelist_count", "page_size")
    pages, free, page = (int(str(value)) for name in names for (value,) in rows(f"PRAGMA {name}", ()))
    return (pages - free) * page
