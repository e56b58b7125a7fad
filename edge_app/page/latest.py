"""The last answers of the store: what the live view shows."""

from collections.abc import Iterable

from msgspec import Struct

from limiar.edge_app.errors import StoreError
from limiar.edge_app.store.reader import Entry, Filter, Reader

_LOOKED_AT = 1000  # entries in which sources are looked for, the newest first


class Latest(Struct, frozen=True):
    """At one moment."""

    sequence: int = 0  # of the last entry, reviews counted too
    entries: tuple[Entry, ...] = ()  # the newest first
    by_source: dict[str | None, Entry] = {}  # the newest of each source; None: files of scans


def latest(reader: Reader, known: Iterable[tuple[str, int | None]], limit: int) -> Latest:
    """known: sources with the ID of their last answer: beside fast ones, a slow one's is far down. limit: entries.

    Raises StoreError.
    """
    with reader.moment():
        sequence = reader.sequence
        entries = tuple(reader.entries(Filter(), newest=True, limit=limit))
        numbers = {source: number for source, number in known if number is not None} | reader.latest_by_source(_LOOKED_AT)
        found = {source: _entry(reader, number) for source, number in numbers.items()}
    return Latest(sequence, entries, {source or None: entry for source, entry in found.items() if entry})


def _entry(reader: Reader, number: int) -> Entry | None:
    try:
        return reader.entry(number)
    except StoreError as error:
        if error.code == "E-RESULT-MISSING":  # deleted since the service answered it
            return None
        raise
