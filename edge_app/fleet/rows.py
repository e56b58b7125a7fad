"""Entries of a store as the rows of messages."""

import base64
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from limiar.edge_app.fleet.messages import LONGEST, NO_KEY, ROWS_BYTES, Row, RowReview
from limiar.edge_app.results.lines import result_line
from limiar.edge_app.store.outgoing import Outgoing, OutgoingReview
from limiar.edge_app.store.reader import Entry

_ENCODER = msgspec.json.Encoder()
_ROUND_BYTES = 1024  # of a message around its rows

Picture = Callable[[Entry], bytes | None]


def no_picture(_: Entry) -> bytes | None:
    """Of a device whose images stay where they are."""
    return None


def row_of(one: Outgoing, *, paths: bool = True, picture: Picture = no_picture) -> Row:
    """paths: whether names of files leave the device; picture: the bytes of an image that leaves it. Raises what it raises."""
    if one.entry:
        line = result_line(one.entry)
        if not paths:  # messages of refusals may name files too, and so does the address of a video file
            source = line.source and line.source.partition(":")[0]
            line = replace(line, path=None, path_base64=None, message=None, source=source)
        data = picture(one.entry)
        image = None if data is None else base64.b64encode(data).decode()
        kind = one.entry.kind
        return _row(one, kind=kind, line=Raw(_ENCODER.encode(line)), image=image)
    if one.review:
        return _row(one, kind="review", review=_review(one.review))
    return _row(one, kind="gone")


def fitted(rows: Iterable[Row], longest: int = LONGEST) -> list[Row]:
    """The first rows, as many as one message holds: the first one in any case, without its image if it is too large with it.

    longest: bytes of a message that the broker takes.
    """
    found: list[Row] = []
    taken = 0
    for row in rows:
        size = len(_ENCODER.encode(row))
        if size > longest - _ROUND_BYTES:
            row = replace(row, image=None)
            size = len(_ENCODER.encode(row))
        if found and taken + size > min(ROWS_BYTES, longest - _ROUND_BYTES):
            break
        found.append(row)
        taken += size
    return found


def _row(one: Outgoing, **fields: object) -> Row:
    key = one.key.hex() or NO_KEY
    return Row(sequence=one.sequence, mark=one.mark.hex(), key=key, entry=one.number, **fields)  # type: ignore[arg-type]


def _review(said: OutgoingReview) -> RowReview:
    takes_back = said.takes_back.hex() if said.takes_back else None
    return RowReview(of=said.of.hex(), label=said.label, by=said.by, why=said.why, time=said.time, takes_back=takes_back)
