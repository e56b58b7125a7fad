"""What passes between a Watcher and the processes that look at its folders, as MessagePack over a socket.

parent -> child   Begin, once; then Answers
child -> parent   lists of events: Ready, Settled, Trouble, Fine, Beat
"""

from msgspec import Struct

from limiar.edge_app.image.folder import Choice, Kind


class WatchedFolder(Struct, frozen=True):
    """A folder, and what to take from it."""

    source: str  # its name in results
    path: bytes
    choice: Choice = Choice()  # links are never followed
    done: str | None = None  # name of the folder in it that answered files are moved to; None: they stay where they are
    quarantine: str | None = None  # likewise, for files that have no answer
    without: tuple[bytes, ...] = ()  # real paths of further folders that are not entered


class Quarantined(Struct, frozen=True, kw_only=True):
    """Why a file has no answer, as NAME.json beside it in quarantine/ says."""

    code: str  # "E-IMAGE-TRUNCATED"
    message: str  # what was met, and what to do
    source: str
    sha256: str | None  # None: it could not be read
    tries: int  # how many workers it cost
    time: str  # UTC, by the device's clock
    bundle: str  # sha256 of its manifest
    app: str  # "limiar 0.1.0"


class Begin(Struct, frozen=True, array_like=True):
    """What a child looks at."""

    folder: WatchedFolder  # without its choice, whose globs need not be UTF-8
    include: list[bytes]
    exclude: list[bytes]
    in_hand: list[tuple[bytes, bytes]]  # path and identity of files that an earlier child has reported


class Answers(Struct, frozen=True, array_like=True):
    """What became of files that were reported."""

    left: list[bytes]  # stay where they are, and count as new only if they change
    done: list[bytes]  # are moved into the folder `done`
    quarantined: list[tuple[bytes, Quarantined]]  # are moved into the folder `quarantine`


class Ready(Struct, frozen=True, array_like=True, tag=True):
    """A file is complete. It is reported once, and again after it changed."""

    source: str
    path: bytes
    identity: bytes  # of device, inode, size and time of change: other bytes, another file


class Settled(Struct, frozen=True, array_like=True, tag=True):
    """A file has been moved, on the disk; or it was gone, or had changed and stays."""

    source: str
    path: bytes
    to: bytes | None  # None: it was not moved


class Trouble(Struct, frozen=True, array_like=True, tag=True):
    """A folder cannot be watched, or files cannot be moved in it. It lasts until Fine; another Trouble replaces it."""

    source: str
    code: str
    message: str
    whole: bool  # nothing in the folder is seen meanwhile


class Fine(Struct, frozen=True, array_like=True, tag=True):
    """The folder is there, and can be read: said at first, and after a Trouble."""

    source: str


class Beat(Struct, frozen=True, array_like=True, tag=True):
    """The child looks; at least every few seconds."""

    source: str
    waiting: int  # files that are not known to be complete
    passed: dict[Kind, int]  # names passed over, by kind, in the last look at the whole folder
    passed_text: str  # the same for a person: "3 other files (2 .txt, 1 .zip), 1 hidden"


Event = Ready | Settled | Trouble | Fine | Beat
