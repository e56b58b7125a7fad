"""Removes the oldest answers and refusals, a few at a time; those that people reviewed stay."""

from collections.abc import Callable

from limiar.edge_app.store.audit import TABLES, Rows

Change = Callable[[str, tuple[object, ...]], object]

_STEP = 500  # entries; takes about 10 ms, and the service has other things to do

_OLDEST = """
    SELECT e.id, e.kind, e.row, coalesce(r.time, c.taken, f.time)
    FROM entries e
    LEFT JOIN results r ON e.kind = 'file' AND r.sequence = e.row
    LEFT JOIN camera_results c ON e.kind = 'frame' AND c.id = e.row
    LEFT JOIN refusals f ON e.kind = 'refusal' AND f.id = e.row
    WHERE e.kind != 'review' AND NOT EXISTS (SELECT 1 FROM reviews WHERE entry = e.id)
    ORDER BY e.id LIMIT ?"""


def forget(rows: Rows, change: Change, before: str | None, count: int | None, size: int | None) -> tuple[int, int]:
    """One step: removes what is older than the UTC time `before`, beyond `count` entries, or beyond `size` bytes.

    Returns how many went, and the last entry of them. Their pages are used again; the file does not shrink.
    """
    ((there,),) = rows("SELECT count(*) FROM entries WHERE kind != 'review'", ())
    too_many = 0 if count is None else int(str(there)) - count
    too_large = size is not None and used_bytes(rows) > size
    gone: list[tuple[int, str, int]] = []
    for entry, kind, row, time in list(rows(_OLDEST, (_STEP,))):
        assert isinstance(entry, int)
        assert isinstance(row, int)
        if not (too_large or len(gone) < too_many or (before is not None and str(time) < before)):
            break
        gone.append((entry, str(kind), row))
    for kind, (table, key) in TABLES.items():
        for _, _, row in (one for one in gone if one[1] == kind):
            change(f"DELETE FROM {table} WHERE {key} = ?", (row,))  # noqa: S608 names of our own
    for entry, _, _ in gone:
        change("DELETE FROM entries WHERE id = ?", (entry,))
    return len(gone), gone[-1][0] if gone else 0


def used_bytes(rows: Rows) -> int:
    """Of the database, without pages that are free to be used again."""
    names = ("page_count", "freelist_count", "page_size")
    pages, free, page = (int(str(value)) for name in names for (value,) in rows(f"PRAGMA {name}", ()))
    return (pages - free) * page
