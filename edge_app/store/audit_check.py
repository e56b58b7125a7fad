"""Checks the audit log, and every answer, refusal and review that it covers, against the hashes that were kept.

What it cannot tell: docs/store.md, "The audit log".
"""

import msgspec
from msgspec import Struct

from limiar.edge_app.store import audit
from limiar.edge_app.store.audit import Row
from limiar.edge_app.store.reader import Reader

_DETAIL = msgspec.json.Decoder(dict[str, str])


class Checked(Struct, frozen=True):
    """What was found."""

    rows: int  # of the log
    covered: int  # the last entry that the log covers
    removed: int  # the last entry that was removed to save space; 0: none
    head: bool  # whether there was a file with the log's end
    broken: str | None  # the first thing that is wrong, and where; None: nothing


class _Broken(Exception):
    pass


def check(reader: Reader) -> Checked:
    """Looks at everything, as it is at one moment. Raises StoreError."""
    head = audit.read_head(audit.head_path(reader.path.resolve()))  # first: it is never ahead of the database
    with reader.moment():
        try:
            log = audit.log(reader.rows)
        except msgspec.MsgspecError as error:
            return Checked(0, 0, 0, head is not None, f"the audit log cannot be read: {error}")
        try:
            known = _chain(log)
            if head and not head.is_in(log[head.id - 1].hash if 0 < head.id <= len(log) else None):
                end = f"the log ends with row {len(log)}, but {audit.head_path(reader.path).name} says row {head.id}"
                raise _Broken(f"{end}, or another hash: an older copy was put back, or rows were cut off")
            _ends(reader, log, known)
            _entries(reader, log, known)
            _no_others(reader)
            broken = None
        except _Broken as met:
            broken = str(met)
    removed = known.removed if broken is None else 0
    return Checked(len(log), log[-1].entry if log else 0, removed, head is not None, broken)


class _Known(Struct):
    """What the log says about entries that changed after a row covered them."""

    replaced: dict[int, list[tuple[int, bytes, bytes]]] = {}  # entry -> row that says so, hash before and after
    removed: int = 0  # the last entry that was removed
    rest: tuple[int, int, bytes] = (0, 0, b"")  # row that says so, and the digest of what is left up to this entry

    def as_at(self, row: int, entry: int, now: bytes) -> bytes:
        """The hash of an entry when a row was written."""
        return next((before for number, before, _ in self.replaced.get(entry, ()) if number > row), now)


def _chain(log: list[Row]) -> _Known:
    """Checks each row against the hash before it, and collects what they say. Raises _Broken."""
    known, before, covered = _Known(), audit.START, 0
    for number, row in enumerate(log, 1):
        where = f"audit row {row.id} ({row.kind}, {row.time})"
        if row.id != number:
            raise _Broken(f"{where} follows row {number - 1}: a row was removed or inserted")
        if row.hash != row.hash_after(before):
            raise _Broken(f"{where} is not what was written, or does not follow the row before it")
        if row.entry < covered:
            raise _Broken(f"{where} covers fewer entries than the row before it")
        if row.kind == audit.PUT_BACK:
            raise _Broken(f"{where}: an older copy of the database was put back before it")
        try:
            _learn(known, row)
        except (ValueError, KeyError, msgspec.MsgspecError):
            raise _Broken(f"{where} cannot be read") from None
        before, covered = row.hash, row.entry
    return known


def _learn(known: _Known, row: Row) -> None:
    """Raises ValueError, KeyError, MsgspecError."""
    if row.kind not in (audit.REPLACED, audit.RETENTION):
        return
    detail = _DETAIL.decode(row.detail)
    if row.kind == audit.REPLACED:
        for entry, hashes in detail.items():
            was, now = map(bytes.fromhex, hashes.split())
            known.replaced.setdefault(int(entry), []).append((row.id, was, now))
        return
    known.removed = max(known.removed, int(detail["upto"]))
    known.rest = row.id, int(detail["end"]), bytes.fromhex(detail["rest"])


def _ends(reader: Reader, log: list[Row], known: _Known) -> None:
    """SQLite keeps the highest ID that each table ever gave. Raises _Broken."""
    given = {str(name): number for name, number in reader.rows("SELECT name, seq FROM sqlite_sequence")}
    if given.get("audit", 0) != len(log):
        raise _Broken(f"the log ends with row {len(log)}, but row {given.get('audit')} was written: rows were cut off")
    last = max(reader.sequence, known.removed)
    if given.get("entries", 0) != last:
        raise _Broken(f"the last entry is {last}, but {given.get('entries')} was given: entries were cut off")


def _entries(reader: Reader, log: list[Row], known: _Known) -> None:
    """Checks the digests of all entries that are still there. Raises _Broken."""
    covered = 0
    left_at, left, rest = known.rest
    for row in log:
        number, wanted = (left_at, rest) if row.entry == left else (row.id, row.digest)
        if row.entry <= covered or row.entry < left:
            continue
        now = dict(audit.entry_hashes(reader.rows, covered, row.entry))
        _replacements(known, now)
        if audit.digest(known.as_at(number, entry, hash_) for entry, hash_ in now.items()) != wanted:
            met = f"of entries {covered + 1} to {row.entry}, which audit row {number} covers"
            raise _Broken(f"{met}, one is not what was written, was removed or was inserted")
        covered = row.entry


def _replacements(known: _Known, now: dict[int, bytes]) -> None:
    """Checks that each answer is the last one that replaced it. Raises _Broken."""
    for entry, hash_ in now.items():
        for number, _, after in known.replaced.get(entry, ())[-1:]:
            if after != hash_:
                raise _Broken(f"entry {entry} is not the answer that audit row {number} says it was replaced with")


def _no_others(reader: Reader) -> None:
    """Everything that is kept has an entry. Raises _Broken."""
    for kind, (table, key) in audit.TABLES.items():
        sql = f"SELECT {key} FROM {table} WHERE {key} NOT IN (SELECT row FROM entries WHERE kind = ?) LIMIT 1"  # noqa: S608
        for (row,) in reader.rows(sql, (kind,)):
            raise _Broken(f"row {row} of {table} was inserted: it has no entry")
        counts = f"SELECT (SELECT count(*) FROM {table}), count(*) FROM entries WHERE kind = ?"  # noqa: S608
        ((there, entries),) = reader.rows(counts, (kind,))
        if there != entries:
            raise _Broken(f"there are {entries} entries for the {there} rows of {table}: some were removed or inserted")
