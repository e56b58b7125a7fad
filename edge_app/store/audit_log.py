"""Writes the audit log, for the store that is open for writing: its rows, and its head beside the database.

The head tells when an older copy of the database was put back, or rows were cut off at the end. It is written after the commit,
so that it is never ahead of the database; after a crash it may lag by what was committed last.
"""

import contextlib

import msgspec

from limiar.edge_app.store import audit
from limiar.edge_app.store.audit import Head, read_head
from limiar.edge_app.store.database import Database
from limiar.edge_app.system.clock import boot_id, utc_now
from limiar.edge_app.system.files import write_whole

_COVER = 1000  # entries that one row covers at most, so that some of them can be removed at little cost

_ADD = "INSERT INTO audit (time, boot_id, kind, detail, entry, digest, hash) VALUES (?, ?, ?, ?, ?, ?, ?)"
_NEXT = "SELECT id, row FROM entries WHERE id >= ? AND kind = 'file' ORDER BY id LIMIT 1"


class AuditLog:
    """To be used within the store's transactions."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._head = audit.head_path(database.path)
        self._replaced: dict[int, bytes] = {}  # covered entry -> its hash before this transaction
        self._looked = False  # at the head, which must be in the log
        self._new = False  # whether there are rows that the head does not know

    def add(self, kind: str, detail: dict[str, str]) -> None:
        """Adds a row, which also covers every entry since the row before. Raises StoreError."""
        if not self._looked:
            self._looked = True
            if (head := read_head(self._head)) and not head.is_in(audit.hash_of_row(self._db.execute, head.id)):
                self._row(audit.PUT_BACK, {"head": str(head.id), "hash": head.hash.hex()}, self._last_entry())
        _, _, covered = audit.last(self._db.execute)
        last = self._last_entry()
        while last - covered > _COVER:
            covered += _COVER
            self._row("checkpoint", {}, covered)
        self._row(kind, detail, last)

    def replacing(self, sequence: object) -> None:
        """This row of `results` is about to be replaced: if a row covers it, the log must say so. Raises StoreError."""
        _, _, covered = audit.last(self._db.execute)
        if not covered:
            return
        entry = self.entry_of(sequence)
        if 0 < entry <= covered:
            self._replaced.setdefault(entry, audit.entry_hash(self._db.execute, entry))

    def before_commit(self) -> None:
        """Adds the row about answers that were replaced since the last commit. Raises StoreError."""
        if self._replaced:
            rows = self._db.execute
            told = {str(entry): f"{was.hex()} {audit.entry_hash(rows, entry).hex()}" for entry, was in self._replaced.items()}
            self._replaced = {}
            self.add(audit.REPLACED, told)

    def removing(self, upto: int) -> None:
        """Entries up to this one are about to be removed: they must be covered. Raises StoreError."""
        self.before_commit()
        if audit.last(self._db.execute)[2] < upto:
            self.add("checkpoint", {})

    def removed(self, count: int, upto: int) -> None:
        """Adds the row about entries that were removed: the check goes on with the others of their range. Raises StoreError."""
        rows = self._db.execute
        ((end,),) = rows("SELECT min(entry) FROM audit WHERE entry >= ?", (upto,))
        assert isinstance(end, int)
        rest = audit.digest(hash_ for _, hash_ in audit.entry_hashes(rows, 0, end))
        self.add(audit.RETENTION, {"count": str(count), "upto": str(upto), "end": str(end), "rest": rest.hex()})

    def committed(self) -> None:
        """Writes the head. A disk that is full leaves the one before, which is in the log as well."""
        if self._new:
            number, hash_, _ = audit.last(self._db.execute)
            with contextlib.suppress(OSError):
                write_whole(self._head, msgspec.json.encode(Head(number, hash_)))
                self._new = False

    def _row(self, kind: str, detail: dict[str, str], upto: int) -> None:
        _, before, covered = audit.last(self._db.execute)
        digest = audit.digest(hash_ for _, hash_ in audit.entry_hashes(self._db.execute, covered, upto))
        told = msgspec.json.encode(detail, order="sorted").decode()
        row = (utc_now(), boot_id(), kind, told, max(upto, covered), digest)
        self._db.change(_ADD, (*row, audit.row_hash(before, row)))
        self._new = True

    def _last_entry(self) -> int:
        found = self._db.execute("SELECT MAX(id) FROM entries")[0][0]
        return found if isinstance(found, int) else 0

    def entry_of(self, sequence: object) -> int:
        """The entry of a row of `results`, 0 if there is none. Both only grow, so it is found without an index, in 20 steps."""
        assert isinstance(sequence, int)
        low, high = 1, self._last_entry()
        while low <= high:
            middle = (low + high) // 2
            found = self._db.execute(_NEXT, (middle,))
            if not found or found[0][1] > sequence:  # type: ignore[operator]  # the table is STRICT
                high = middle - 1
            elif found[0][1] == sequence:
                return int(str(found[0][0]))
            else:
                low = int(str(found[0][0])) + 1
        return 0
