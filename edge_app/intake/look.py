"""When a file is complete: two looks at it, 2 s apart, saw the same; or it was moved into place whole.

Looks and times come in as arguments, so everything here can be tried without a folder or a clock.
"""

import os
import stat
import struct
from typing import NamedTuple, Self

STILL_S = 2.0  # between the two looks; a writer that pauses for longer looks finished
EMPTY_S = 10.0  # the same for an empty file: most are about to be written
WRITING_S = 60.0  # the same for a file that a program has open: a slow upload pauses, but some programs never close
WAITING = 20_000  # files that are looked at a second time; with more, the look at the folder is continued later
IN_HAND = 2_000  # files reported and not answered: a card with 100,000 must not fill the memory of what answers them

_IDENTITY = struct.Struct("<QQqq")


class Seen(NamedTuple):
    """A file as one look saw it; a change of its content shows in size or time."""

    device: int
    inode: int  # 0 where the file system makes up another one from time to time
    size: int  # bytes
    mtime_ns: int
    is_plain: bool  # neither a folder, a link, a FIFO, a socket nor a device

    @classmethod
    def of(cls, status: os.stat_result, has_inodes: bool) -> Self:
        inode = status.st_ino if has_inodes else 0
        return cls(status.st_dev, inode, status.st_size, status.st_mtime_ns, stat.S_ISREG(status.st_mode))

    @property
    def identity(self) -> bytes:
        """For the store: 32 bytes."""
        return _IDENTITY.pack(self.device, self.inode, self.size, self.mtime_ns)

    def wait_s(self, moved: bool, writing: bool) -> float:
        """How long it must stay the same."""
        if self.is_plain and not self.size:
            return EMPTY_S
        if moved and self.is_plain:
            return 0.0
        return WRITING_S if writing else STILL_S


class Looks:
    """What is known about the files of a folder. Times are monotonic, in seconds.

    looks = Looks()
    looks.saw(b"a.png", seen, now_s=0.0)
    looks.due(now_s=2.0)  # [b"a.png"]: look again, and
    looks.again(b"a.png", seen_again, now_s=2.0)  # True: it is complete
    """

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}  # path -> identity of files that were reported
        self._in_hand: set[bytes] = set()  # those of them that have no answer yet
        # How long they wait -> path -> what was seen, and when; each in the order of time.
        self._waits: dict[float, dict[bytes, tuple[Seen, float]]] = {
            wait_s: {} for wait_s in (0.0, STILL_S, EMPTY_S, WRITING_S)
        }
        self._listed: set[bytes] = set()  # in this look at the whole folder

    @property
    def waiting(self) -> int:
        """Files that are not known to be complete."""
        return sum(map(len, self._waits.values()))

    def saw(self, path: bytes, seen: Seen, now_s: float, *, moved: bool = False, writing: bool = False) -> bool:
        """Takes a look; False if too many files wait. now_s: not before the look.

        moved: it was renamed into place. writing: a program has it open, and has written to it.
        """
        self._listed.add(path)
        if self._known.get(path) == seen.identity:
            self.gone(path)
            return True
        wait_s = seen.wait_s(moved, writing)
        for other_s, waits in self._waits.items():
            if (before := waits.get(path)) and before[0] == seen and other_s in (0.0, wait_s):
                return True  # since then it has stayed the same
        self.gone(path)
        if self.waiting >= WAITING:
            return False
        self._waits[wait_s][path] = seen, now_s
        return True

    def gone(self, path: bytes) -> None:
        """The file is not waited for any more."""
        for waits in self._waits.values():
            waits.pop(path, None)

    def due(self, now_s: float) -> list[bytes]:
        """Files that have waited long enough, and need another look: by folder and name, as many as may be reported."""
        found: list[bytes] = []
        room = IN_HAND - len(self._in_hand)
        for wait_s, waits in self._waits.items():
            for path, (_, since_s) in waits.items():
                if len(found) >= room or now_s - since_s < wait_s:
                    break
                if path not in self._in_hand:
                    found.append(path)
        return sorted(found, key=lambda path: path.split(b"/"))

    def due_at_s(self) -> float:
        """When `due` next has something, if nothing changes."""
        if len(self._in_hand) >= IN_HAND:
            return float("inf")
        at_s = float("inf")
        for wait_s, waits in self._waits.items():
            since_s = next((since_s for path, (_, since_s) in waits.items() if path not in self._in_hand), float("inf"))
            at_s = min(at_s, since_s + wait_s)
        return at_s

    def again(self, path: bytes, seen: Seen | None, now_s: float) -> bool:
        """Takes the look that `due` asked for; whether the file is complete, and so reported. None: it is gone."""
        before = next((waits[path][0] for waits in self._waits.values() if path in waits), None)
        self.gone(path)
        if seen is None:
            return False
        if seen != before:
            self.saw(path, seen, now_s)
            return False
        self.report(path, seen.identity)
        return True

    def report(self, path: bytes, identity: bytes) -> None:
        """The file is in hand from now on."""
        self._known[path] = identity
        self._in_hand.add(path)

    def identity(self, path: bytes) -> bytes | None:
        """Of the file that is in hand."""
        return self._known[path] if path in self._in_hand else None

    def answered(self, path: bytes, stays: bool) -> None:
        """It is out of hand. stays: it counts as new only if it changes."""
        self._in_hand.discard(path)
        if not stays:
            self._known.pop(path, None)

    def begin(self) -> None:
        """A look at the whole folder begins."""
        self._listed = set()

    def end(self) -> None:
        """It has seen everything: what it did not see is gone."""
        for path in self._known.keys() - self._listed - self._in_hand:
            del self._known[path]
        self._listed = set()
