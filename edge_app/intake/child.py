"""The process that looks at a watched folder. A network share may block it for ever; nothing else touches the folder.

It looks at the whole folder again and again, as often as that costs no more than _SHARE of a core; inotify wakes it early for a
file that was written or moved. Every file is looked at twice before it is reported.
"""

import contextlib
import os
import select
import stat
import time

import msgspec

from limiar.edge_app.errors import LimiarError, SourceError, printable
from limiar.edge_app.image.folder import Choice, Tally, takes, walk
from limiar.edge_app.intake.beneath import folder_beneath, has_inodes, parts
from limiar.edge_app.intake.inotify import Hints
from limiar.edge_app.intake.look import WAITING, Looks, Seen
from limiar.edge_app.intake.messages import Answers, Beat, Begin, Event, Fine, Quarantined, Ready, Settled, Trouble
from limiar.edge_app.intake.settle import Settling
from limiar.edge_app.system.channel import WorkerEnd

_EVERY_S = 0.8  # between two looks at the whole folder: with the 2 s of a file, it is reported within 3 s even without inotify
_SHARE = 0.015  # of a core, for looks at the whole folder: one with 100,000 files is looked at once a minute
_SHARE_HINTED = 0.1  # if inotify says that more may have happened than it knows
_BEAT_S = 1.0
_TOGETHER_S = 0.05  # files that become due within so long are reported together, in order of names
_MOVE_EVERY_S = 5.0  # between tries to move a file that could not be moved

_ANSWERS = msgspec.msgpack.Decoder(Answers)


def work(parent: WorkerEnd) -> None:
    """The child's life; it ends when the parent closes its end."""
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _Intake(parent, msgspec.msgpack.decode(parent.receive(), type=Begin)).run()


class _Intake:
    def __init__(self, parent: WorkerEnd, begin: Begin) -> None:
        self._parent = parent
        choice = Choice(tuple(map(os.fsdecode, begin.include)), tuple(map(os.fsdecode, begin.exclude)))
        self._folder = folder = msgspec.structs.replace(begin.folder, choice=choice)
        self._has_inodes = True  # of the folder's file system
        self._looks = Looks()
        for path, identity in begin.in_hand:
            self._looks.report(path, identity)
        self._hints = Hints()
        self._writing: set[bytes] = set()  # files that a program here writes, as far as inotify says
        own = [os.path.join(folder.path, os.fsencode(name)) for name in (folder.done, folder.quarantine) if name]
        self._without = {*map(os.path.realpath, own), *folder.without}
        self._events: list[Event] = []
        self._told: dict[str, str | None] = {
            "look": "",
            "move": None,
        }  # the trouble with each; None: none; "": nothing said yet
        self._to_move: dict[bytes, Quarantined | None] = {}
        self._passed = Tally()
        self._look_at_s = self._beat_at_s = self._move_at_s = 0.0
        self._cut = False  # the last look ended early, since too many files wait
        self._hinted_at_s = 0.0  # not before this, if inotify asks for a look at the whole folder

    def run(self) -> None:
        """Raises EOFError and OSError once the parent is gone."""
        while True:
            if time.monotonic() >= self._look_at_s:
                self._look()
            self._report()
            if self._to_move and time.monotonic() >= self._move_at_s:
                self._move()
            self._send()
            self._beat()
            self._wait()

    def _look(self) -> None:
        """Looks at the whole folder."""
        began_s, used_s = time.monotonic(), time.process_time()
        passed, trouble, whole = Tally(), None, True
        try:
            with os.scandir(self._folder.path):
                pass
        except OSError as error:
            self._look_at_s = time.monotonic() + _EVERY_S
            self._tell("look", _unreadable(self._folder.path, error), whole=True)
            return
        self._has_inodes = has_inodes(self._folder.path)
        self._looks.begin()
        self._cut = False
        for found in walk(self._folder.path, self._folder.choice, self._without, self._hints.watch):
            passed.add(found)
            if found.is_folder and not found.kind:
                trouble, whole = _why(found.path), False
            elif not found.kind and (seen := self._see(found.path)) and not self._saw(found.path, seen):
                self._cut = True
                break
            self._beat()
        if whole and not self._cut:
            self._looks.end()
        self._passed = passed
        self._tell("look", trouble)
        now_s, used_s = time.monotonic(), time.process_time() - used_s
        self._look_at_s = now_s + max(_EVERY_S, used_s / _SHARE, now_s - began_s)
        self._hinted_at_s = now_s + used_s / _SHARE_HINTED

    def _report(self) -> None:
        """Looks again at the files whose time has come; reports those that have not changed."""
        now_s = time.monotonic()
        for path in self._looks.due(now_s):
            seen = self._see_closely(path)
            self._writing.discard(path)
            if self._looks.again(path, seen, time.monotonic()) and seen:
                self._events.append(Ready(self._folder.source, path, seen.identity))

    def _move(self) -> None:
        """Moves what was answered, as far as that is possible now."""
        trouble: LimiarError | None = None
        settled: list[Settled] = []
        try:
            with Settling(self._folder) as settling:
                for path, reason in self._to_move.items():
                    identity = self._looks.identity(path) or b""
                    try:
                        moved = settling.quarantined(path, identity, reason) if reason else settling.done(path, identity)
                        settled.append(Settled(self._folder.source, path, moved.to))
                    except SourceError as error:
                        trouble = error
                    self._beat()
        except OSError as error:  # the fsync at the end
            trouble = _unreadable(self._folder.path, error)
        for one in settled:
            del self._to_move[one.path]
            self._looks.answered(one.path, stays=False)
        self._events += settled
        self._move_at_s = time.monotonic() + _MOVE_EVERY_S if self._to_move else 0.0
        self._tell("move", trouble)

    def _tell(self, what: str, trouble: LimiarError | None, whole: bool = False) -> None:
        """Says a trouble once, and once that everything is fine."""
        code = trouble.code if trouble else None
        if self._told[what] == code:
            return
        self._told[what] = code
        if trouble:
            self._events.append(Trouble(self._folder.source, trouble.code, trouble.message, whole))
        elif not any(self._told.values()):
            self._events.append(Fine(self._folder.source))

    def _beat(self) -> None:
        if time.monotonic() >= self._beat_at_s:
            kinds, text = dict(self._passed.kinds), printable(self._passed.text())  # it quotes names
            self._events.append(Beat(self._folder.source, self._looks.waiting, kinds, text))
            self._beat_at_s = time.monotonic() + _BEAT_S
            self._send()

    def _send(self) -> None:
        if self._events:
            self._parent.send(msgspec.msgpack.encode(self._events))
            self._events = []

    def _wait(self) -> None:
        """Waits for the next look, for answers and for hints; deals with the last two."""
        now_s = time.monotonic()
        if self._cut and self._looks.waiting < WAITING // 2:
            self._look_at_s = now_s
        until_s = min(self._look_at_s, self._beat_at_s, self._looks.due_at_s() + _TOGETHER_S)
        poll = select.poll()
        poll.register(self._parent, select.POLLIN)
        if self._hints.descriptor >= 0:
            poll.register(self._hints.descriptor, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll(max(0.0, until_s - now_s) * 1000)]
        if self._hints.descriptor in ready:
            self._take_hints()
        while self._parent.waits():
            self._take(_ANSWERS.decode(self._parent.receive()))

    def _saw(self, path: bytes, seen: Seen, moved: bool = False) -> bool:
        return self._looks.saw(path, seen, time.monotonic(), moved=moved, writing=path in self._writing)

    def _take_hints(self) -> None:
        for path, moved, writing in self._hints.take():
            if path is None:
                self._writing.clear()  # the end of some may have been lost
                self._look_at_s = min(self._look_at_s, max(time.monotonic(), self._hinted_at_s))
            elif takes(self._folder.path, path, self._folder.choice) and (seen := self._see(path)):
                if not writing:
                    self._writing.discard(path)
                elif len(self._writing) < WAITING:
                    self._writing.add(path)
                self._saw(path, seen, moved)

    def _take(self, answers: Answers) -> None:
        for path in answers.left:
            self._looks.answered(path, stays=True)
        for path in answers.done:
            self._to_move[path] = None
        self._to_move |= answers.quarantined

    def _see(self, path: bytes) -> Seen | None:
        try:
            return Seen.of(os.lstat(path), self._has_inodes)
        except OSError:
            return None

    def _see_closely(self, path: bytes) -> Seen | None:
        """Opens the file: only then a network share asks its server how large it is now. None: it is gone, or replaced."""
        *below, name = parts(self._folder.path, path)
        try:
            with folder_beneath(self._folder.path, below) as folder:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    status = _opened(folder, name) or status
        except OSError:
            return None
        return Seen.of(status, self._has_inodes)


def _opened(folder: int, name: bytes) -> os.stat_result | None:
    """What an open file says; None if it cannot be opened, which is what its answer will be."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _why(folder: bytes) -> SourceError:
    try:
        with os.scandir(folder):
            return SourceError("E-WATCH-READ", f"{printable(folder)} could not be read, but can be now")
    except OSError as error:
        return _unreadable(folder, error)


def _unreadable(folder: bytes, error: OSError) -> SourceError:
    if isinstance(error, FileNotFoundError):
        cure = "check the path, and that the card or share is there"
        return SourceError("E-WATCH-MISSING", f"{printable(folder)} is not there: {cure}")
    cure = "give a folder that this user may read"
    return SourceError("E-WATCH-READ", f"{printable(folder)} cannot be read: {error.strerror}: {cure}")
