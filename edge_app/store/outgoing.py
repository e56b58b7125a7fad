"""What waits in a store's outbox, read beside the process that writes it: edge_app/store/outbox.py."""

from msgspec import Struct

from limiar.edge_app.store.outbox import Uplink, uplink
from limiar.edge_app.store.reader import ENTRIES, Entry, Reader

_WAITING = """
    SELECT o.sequence, o.mark, o.entry, e.kind, e.row, e.key FROM outbox o LEFT JOIN entries e ON e.id = o.entry
    WHERE o.sequence > ? ORDER BY o.sequence LIMIT ?"""
_REVIEW = """
    SELECT e.key, w.label, w.by, w.why, w.time, w.takes_back FROM reviews w JOIN entries e ON e.id = w.entry WHERE w.id = ?"""
_KEY_OF_REVIEW = "SELECT key FROM entries WHERE kind = 'review' AND row = ?"
_MARK = "SELECT mark FROM outbox WHERE sequence = ?"


class OutgoingReview(Struct, frozen=True):
    """What a person said about an answer, or that they take it back."""

    of: bytes  # key of the answer
    label: str | None  # None: the model's label is right, or it takes a review back
    by: str
    why: str
    time: str  # UTC, by the device's clock
    takes_back: bytes | None  # key of the review


class Outgoing(Struct, frozen=True):
    """A row of the outbox: an answer or refusal, a review, or neither if the entry is not there any more."""

    sequence: int
    mark: bytes  # 8 random bytes, of this row: an older copy of the store has another at this sequence
    key: bytes  # 8 random bytes, of the entry; empty if it is not there any more
    number: int  # of the entry: the ID that the device shows
    entry: Entry | None = None
    review: OutgoingReview | None = None


def uplink_of(reader: Reader) -> Uplink | None:
    """How far the outbox is; None if this device is in no fleet. Raises StoreError."""
    return uplink(reader.rows)


def outgoing(reader: Reader, after: int, most: int) -> list[Outgoing]:
    """What waits behind a sequence, in its order; at most so many. Raises StoreError."""
    with reader.moment():
        return [_outgoing(reader, row) for row in reader.rows(_WAITING, (after, most))]


def mark_of(reader: Reader, sequence: int) -> bytes | None:
    """The mark of a row that waits; None if none of this sequence does. Raises StoreError."""
    for (mark,) in reader.rows(_MARK, (sequence,)):
        assert isinstance(mark, bytes)
        return mark
    return None


def _outgoing(reader: Reader, row: tuple[object, ...]) -> Outgoing:
    sequence, mark, number, kind, of, key = row
    assert isinstance(mark, bytes)
    found = Outgoing(int(str(sequence)), mark, key if isinstance(key, bytes) else b"", int(str(number)))
    if kind is None:
        return found
    if kind == "review":
        review = _review(reader, of)
        return Outgoing(found.sequence, mark, found.key if review else b"", found.number, review=review)
    (entry,) = reader.rows(f"{ENTRIES} WHERE e.id = ?", (number,))
    return Outgoing(found.sequence, mark, found.key, found.number, entry=reader.entry_of(entry))


def _review(reader: Reader, row: object) -> OutgoingReview | None:
    for of, label, by, why, time, takes_back in reader.rows(_REVIEW, (row,)):
        assert isinstance(of, bytes)
        taken = [key for (key,) in reader.rows(_KEY_OF_REVIEW, (takes_back,)) if isinstance(key, bytes)]
        said = (None if label is None else str(label), str(by), str(why), str(time))
        return OutgoingReview(of, *said, takes_back=taken[0] if taken else None)
    return None
