"""What devices sent, into the database, and what they may forget: the collector's rules, apart from how messages travel.

A row is taken if it follows the last one of its store; what came before is there already, and after a gap nothing is taken. So
the number in an acknowledgement says that every row up to it is committed. A store that was put back from a copy and has grown
again has other rows at the same numbers: marks tell, and nothing more is taken of it until the device gives it another id.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import postgresql, sqlite

from limiar.edge_app.collect.columns import WrongMessage, device_columns, row_columns
from limiar.edge_app.collect.images import image_bytes, keep_image
from limiar.edge_app.collect.schema import DEVICES, ROWS, STORES
from limiar.edge_app.fleet.messages import LONGEST, NO_MARK, Acked, Row, Rows
from limiar.edge_app.fleet.topics import ROOT, sender
from limiar.edge_app.system.clock import utc_now

_ROWS = msgspec.json.Decoder(Rows)
_ONLINE = {b"true": True, b"false": False}


class Message(NamedTuple):
    """As the broker gave it."""

    topic: str
    payload: bytes
    retained: bool = False  # the broker kept it, since when nobody knows


class Receiver:
    """Takes messages. It keeps no state: what it must know is in the database."""

    def __init__(self, *, root: str = ROOT, images: Path | None = None, now: Callable[[], str] = utc_now) -> None:
        """images: a folder for the images that devices send; None: they are dropped."""
        self._root, self._images, self._now = root, images, now

    def take(self, connection: Connection, message: Message) -> Acked | None:
        """Writes what a message says, in the caller's transaction; returns what to acknowledge once that is committed.

        Raises WrongMessage: it is none of ours, and nothing was written; SQLAlchemyError; OSError: of the folder for images.
        """
        found = sender(message.topic, self._root)
        if found is None:
            raise WrongMessage("", f"{message.topic[:100]} is not a topic of a device")
        device, what = found
        if len(message.payload) > LONGEST:
            raise WrongMessage(device, f"its {what} have {len(message.payload)} bytes; {LONGEST} are the limit")
        if what == "online":
            if message.payload not in _ONLINE:
                raise WrongMessage(device, "up/online is neither true nor false")
            self._seen(connection, device, alive=False, online=_ONLINE[message.payload])
            return None
        if what == "status":
            changes = device_columns(device, message.payload)
            now = {} if message.retained else {"status_seen": self._now()}
            self._seen(connection, device, alive=not message.retained, **changes, **now)
            return None
        rows = _decoded(device, message.payload)
        values = [row_columns(device, row, self._now()) for row in rows.rows if row.kind != "gone"]
        images = {row.key: image_bytes(device, row) for row in rows.rows} if self._images else {}
        self._seen(connection, device, alive=True)
        return self._rows(connection, device, rows, values, images)

    def _rows(
        self,
        connection: Connection,
        device: str,
        rows: Rows,
        values: Sequence[dict[str, Any]],
        images: dict[str, bytes | None],
    ) -> Acked:
        committed, mark = _committed(connection, device, rows.store)
        new, last, gap = _following(rows, committed, mark)
        if _differ(connection, device, rows, committed):
            new, last, gap = [], mark, True
        wanted = {(row.sequence, row.key) for row in new}
        taken = [{"store": rows.store, **one} for one in values if (one["sequence"], one["key"]) in wanted]
        for one in taken:
            if self._images and (image := images[one["key"]]) is not None:
                keep_image(self._images, device, one["key"], image)
        if taken:
            _upsert(connection, ROWS, taken, ("device", "key"), kept=("id",))
        now, committed = self._now(), committed + len(new)
        store = {
            "device": device,
            "store": rows.store,
            "committed": committed,
            "mark": last,
            "first_seen": now,
            "last_seen": now,
        }
        _upsert(connection, STORES, [store], ("device", "store"), kept=("first_seen",))
        return Acked(store=rows.store, sequence=committed, mark=last, gap=gap)

    def _seen(self, connection: Connection, device: str, *, alive: bool, **changes: Any) -> None:
        """alive: whether it was the device that spoke just now, and not the broker for it."""
        now = self._now()
        changes |= {"last_seen": now} if alive else {}
        new = {"name": device, "first_seen": now, "last_seen": now, "online": False, "groups": "[]", **changes}
        if changes:
            _upsert(connection, DEVICES, [new], ("name",), only=tuple(changes))


def all_acked(connection: Connection) -> list[tuple[str, Acked]]:
    """What each device may forget, by name: of the store that it spoke of last."""
    newest = select(STORES.c.device, func.max(STORES.c.last_seen).label("seen")).group_by(STORES.c.device).subquery()
    same = (STORES.c.device == newest.c.device) & (STORES.c.last_seen == newest.c.seen)
    found = connection.execute(select(STORES.c.device, STORES.c.store, STORES.c.committed, STORES.c.mark).join(newest, same))
    return [(device, Acked(store=store, sequence=sequence, mark=mark)) for device, store, sequence, mark in found]


def _decoded(device: str, payload: bytes) -> Rows:
    try:
        return _ROWS.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WrongMessage(device, f"up/rows: {error}") from None


def _committed(connection: Connection, device: str, store: str) -> tuple[int, str]:
    """The last row of a store that was taken, and its mark."""
    of = (STORES.c.device == device) & (STORES.c.store == store)
    found = connection.execute(select(STORES.c.committed, STORES.c.mark).where(of)).first()
    return (found[0], found[1]) if found else (0, NO_MARK)


def _following(rows: Rows, committed: int, mark: str) -> tuple[list[Row], str, bool]:
    """The rows that follow what is committed, the last mark then, and whether a row did not follow."""
    new: list[Row] = []
    last, before = mark, rows.before
    for row in rows.rows:
        if row.sequence > committed:
            follows = row.sequence == committed + len(new) + 1 and before in (None, last)
            if not follows:
                return new, last, True
            new.append(row)
            last = row.mark
        before = row.mark
    return new, last, False


def _differ(connection: Connection, device: str, rows: Rows, committed: int) -> bool:
    """Whether a row that is there already has another mark than the one that came: the store is not the one it was.

    An entry that was sent again has left its first number, so a number without a row says nothing.
    """
    lower = {row.sequence: row.mark for row in rows.rows if row.sequence <= committed}
    if not lower:
        return False
    of = (ROWS.c.device == device) & (ROWS.c.store == rows.store) & ROWS.c.sequence.in_(lower)
    found = connection.execute(select(ROWS.c.sequence, ROWS.c.mark).where(of))
    return any(lower.get(sequence, mark) != mark for sequence, mark in found)


def _upsert(
    connection: Connection,
    table: Any,
    values: Iterable[dict[str, Any]],
    by: tuple[str, ...],
    *,
    kept: tuple[str, ...] = (),
    only: tuple[str, ...] | None = None,
) -> None:
    """Adds rows, or replaces what is there under the same `by`: all columns but `kept`, or `only` these."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    given = list(values)
    statement = dialect.insert(table)
    changed = [name for name in given[0] if name not in by and name not in kept] if only is None else only
    new = statement.on_conflict_do_update(index_elements=by, set_={name: statement.excluded[name] for name in changed})
    connection.execute(new, given)
