"""The last answers of the store: what the live view shows."""

from collections.abc import Iterable

from msgspec import Struct

from limiar.edge_app.errors import StoreError
from limiar.edge_app.store.reader import Entry, Filter, Reader

_LOOKED_AT = 200  # entries, the newest first


class Latest(Struct, frozen=True):
    """At one moment."""

    sequence: int = 0  # of the last entry, reviews counted too
    entries: tuple[Entry, ...] = ()  # the newest first
    by_source: dict[str | None, Entry] = {}  # the newest of each source


def latest(reader: Reader, known: Iterable[tuple[str, int | None]]) -> Latest:
    """known: sources with the ID of their last answer: among fast ones, a slow one's is far down. Raises StoreError."""
    with reader.moment():
        sequence = reader.sequence
        entries = tuple(reader.entries(Filter(), newest=True, limit=_LOOKED_AT))
        by_source = {entry.source: entry for entry in reversed(entries)}
        for source, number in known:
            if source not in by_source and number is not None:
                try:
                    by_source[source] = reader.entry(number)
                except StoreError as error:
                    if error.code != "E-RESULT-MISSING":  # deleted meanwhile
                        raise
    return Latest(sequence, entries, by_source)
