"""What devices and their collector say to each other: JSON, on the topics of topics.py. Both ends read them with these types.

A later limiar may add fields, which an earlier one passes over; none changes its meaning while `schema` stays the same.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from limiar.edge_app.health.status import Status
from limiar.edge_app.results.lines import ResultLine

SCHEMA = 1
ROWS_MOST = 200  # of a message
ROWS_BYTES = 256 << 10  # of a message, about; a single row may be larger
LONGEST = 8 << 20  # bytes of a message; what is longer is dropped unread
NO_KEY = "0" * 16  # of an entry that is not there any more
NO_MARK = "0" * 16  # of the row before the first

StoreId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]  # 16 random bytes
Key = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]  # of an entry: 8 random bytes
Mark = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]  # of a row: 8 random bytes; an entry that is sent again has another
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Sequence = Annotated[int, Meta(ge=1, lt=1 << 62)]
Count = Annotated[int, Meta(ge=0, lt=1 << 62)]
Kind = Literal["file", "frame", "refusal", "review", "gone"]


class RowReview(Struct, frozen=True, kw_only=True):
    """What a person said about an answer, or took back."""

    of: Key  # what was reviewed
    label: str | None = None  # None: the model's label is right
    by: str
    why: str
    time: str  # UTC, by the device's clock
    takes_back: Key | None = None  # the review that this one takes back


class Row(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry of a device's outbox."""

    sequence: Sequence  # 1, 2, 3 and so on, without a gap, for each store
    mark: Mark
    key: Key  # of the entry
    kind: Kind  # "gone": the entry is not there any more
    entry: Count | None = None  # its ID on the device
    line: Raw = Raw(b"null")  # a ResultLine, as `limiar results --json` prints it; null: none
    review: RowReview | None = None
    image: str | None = None  # base64 of the file's bytes


class Rows(Struct, frozen=True, kw_only=True):
    """up/rows: entries in order."""

    schema: Literal[1] = 1
    store: StoreId
    before: Mark | None = None  # of the row before the first one; None: the sender does not know it any more
    rows: Annotated[tuple[Row, ...], Meta(max_length=ROWS_MOST)]


class Acked(Struct, frozen=True, kw_only=True):
    """down/acked: what the collector has committed, and so what the device may forget. Only this empties an outbox."""

    schema: Literal[1] = 1
    store: StoreId
    sequence: Count  # the highest one without a gap below it; 0: none
    mark: Mark  # of that row; NO_MARK for sequence 0
    gap: bool = False  # what came last did not follow it: send again from the next one


PullState = Literal["waiting", "pulling", "installing", "installed", "refused"]


class Pull(Struct, frozen=True, kw_only=True):
    """What a device does about the bundle that is desired of it."""

    rollout: Count
    bundle: Sha256  # of its manifest
    archive: Sha256  # of the .limiar file
    state: PullState
    share: Annotated[float, Meta(ge=0, le=1)] = 0.0  # of the file that is there
    code: str = ""  # why it was refused, or waits
    message: str = ""
    attempt: Count = 0  # of the roll-out, which a person may have resumed or rolled back


class UplinkState(Struct, frozen=True, kw_only=True):
    """The uplink itself."""

    store: StoreId | None = None
    waiting: Count = 0  # rows in the outbox
    sent: Count = 0  # the highest sequence that was sent
    acked: Count = 0  # the highest sequence that the collector has
    clock_waiting: bool = False
    groups: tuple[str, ...] = ()
    desired: Pull | None = None


class DeviceStatus(Struct, frozen=True, kw_only=True):
    """up/status, retained."""

    schema: Literal[1] = 1
    sent: str  # UTC, by the device's clock
    status: Status
    fleet: UplinkState


class Desired(Struct, frozen=True, kw_only=True):
    """down/desired, retained; an empty message: nothing."""

    schema: Literal[1] = 1
    rollout: Count
    bundle: Sha256
    archive: Sha256
    bytes: Count
    counter: Count
    name: str
    version: str
    action: Literal["install", "back"]
    attempt: Count = 0  # a person has resumed it, or rolled it back, so often: what was refused is tried again


LINE = msgspec.json.Decoder(ResultLine)
