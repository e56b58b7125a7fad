"""Lists what is kept."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from limiar.edge_app.output.files import OutputFile
from limiar.edge_app.results.lines import csv_header, csv_line, result_line
from limiar.edge_app.store.reader import Entry, Filter, Reader


def listed(db: Path, which: Filter, limit: int | None) -> Iterator[Entry]:
    """Entries in their order; with a limit, the newest. Raises StoreError."""
    with Reader(db) as reader:
        if limit is None:
            yield from reader.entries(which)
        else:
            yield from reversed(list(reader.entries(which, newest=True, limit=limit)))


def write_csv(path: Path, entries: Iterable[Entry]) -> None:
    """A spreadsheet, whole or not at all. Raises OutputError, StoreError."""
    file = OutputFile(path)
    try:
        for line in csv_lines(entries):
            file.write(line)
    except BaseException:
        file.discard()
        raise
    file.close()


def csv_lines(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The lines of a spreadsheet. Raises StoreError."""
    yield csv_header()
    for entry in entries:
        yield csv_line(result_line(entry))
