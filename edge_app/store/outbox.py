"""What a device's store still has to send to its fleet, in SQLite: written in the transaction that keeps the entry.

A sequence counts what was put in: 1, 2, 3 … without a gap, for each store. A row leaves only when a collector has committed it.
"""

import os
from collections.abc import Callable

from msgspec import Struct

from limiar.edge_app.store.database import Database

_STORE_BYTES = 16
_NEWEST = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'"
_ALL = "INSERT INTO outbox (entry) SELECT id FROM entries ORDER BY id"


class Uplink(Struct, frozen=True):
    """How far a store's outbox is."""

    store: bytes  # 16 random bytes, which name it
    acked: int  # up to this sequence a collector has committed
    newest: int  # the last sequence

    @property
    def waiting(self) -> int:
        """How many rows no collector has committed yet."""
        return self.newest - self.acked


class Outbox:
    """The outbox of a store that is open for writing; its changes are part of that store's transaction."""

    def __init__(self, database: Database, begin: Callable[[], None]) -> None:
        """begin: starts a transaction, unless there is one."""
        self._db, self._begin = database, begin
        self.on = False  # whether entries are put into it

    def open(self) -> None:
        """Once the tables are there. Raises StoreError."""
        self.on = bool(self._db.execute("SELECT 1 FROM uplink"))

    def use(self, on: bool) -> None:
        """Whether this device is in a fleet. One that enters it sends all that its store holds. Raises StoreError."""
        if on and not self.on:
            self._start()
        elif self.on and not on:
            self._change("DELETE FROM uplink")
            self._change("DELETE FROM outbox")
        self.on = on

    def uplink(self) -> Uplink | None:
        """How far it is; None if this device is in no fleet. Raises StoreError."""
        return uplink(self._db.execute) if self.on else None

    def put_last(self) -> None:
        """The entry that was just added. Raises StoreError."""
        self._change("INSERT INTO outbox (entry) VALUES (last_insert_rowid())")

    def put(self, entry: int) -> None:
        """An entry whose answer was replaced. Raises StoreError."""
        self._change("INSERT INTO outbox (entry) VALUES (?)", entry)

    def delivered(self, store: bytes, sequence: int) -> None:
        """A collector has committed everything up to a sequence. Of another store, it means nothing. Raises StoreError."""
        now = self.uplink()
        if now and now.store == store and now.acked < sequence <= now.newest:
            self._change("DELETE FROM outbox WHERE sequence <= ?", sequence)
            self._change("UPDATE uplink SET acked = ?", sequence)

    def renew(self, store: bytes) -> None:
        """Sends everything again as a new store, unless it is another than this already. Raises StoreError.

        For a store that went back to an older copy, whose sequences now mean other rows, or for a collector that did. Nothing
        is doubled by it: collectors know an entry by its key.
        """
        now = self.uplink()
        if now and now.store == store:
            self._start()

    def _start(self) -> None:
        self._change("DELETE FROM outbox")
        self._change("DELETE FROM sqlite_sequence WHERE name = 'outbox'")
        self._change("DELETE FROM uplink")
        self._change("INSERT INTO uplink VALUES (1, ?, 0)", os.urandom(_STORE_BYTES))
        self._change(_ALL)

    def _change(self, sql: str, *values: object) -> None:
        self._begin()
        self._db.change(sql, values)


def uplink(rows: Callable[[str], list[tuple[object, ...]]]) -> Uplink | None:
    """How far a store's outbox is; None if it is in no fleet."""
    for store, acked in rows("SELECT store, acked FROM uplink"):
        ((newest,),) = rows(_NEWEST)
        assert isinstance(store, bytes)
        return Uplink(store, int(str(acked)), int(str(newest)))
    return None
