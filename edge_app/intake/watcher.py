"""Watched folders, as the process that keeps the store sees them: it never touches one, and is never blocked by one.

Each folder has a child process of its own, so that a dead share stops no other folder. A child that is silent is killed, and
replaced once it has ended: one that waits for a dead share ends only when the share is back.
"""

import os
import select
import time
from collections.abc import Sequence
from typing import Self

import msgspec

from limiar.edge_app.errors import printable
from limiar.edge_app.image.folder import Choice
from limiar.edge_app.intake.child import work
from limiar.edge_app.intake.messages import (
    Answers,
    Begin,
    Event,
    Fine,
    Quarantined,
    Ready,
    Settled,
    Trouble,
    WatchedFolder,
)
from limiar.edge_app.system.channel import ParentEnd
from limiar.edge_app.system.children import Child, start_child

_SILENT_S = 10.0  # without a beat: said; a disk needs a few seconds to start
_LOST_S = 60.0  # without a beat: killed
_AGAIN_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # before a child is replaced, the first time and later
_STEADY_S = 600.0  # a child that lived so long was well
_END_S = 0.5  # for the children to end

_EVENTS = msgspec.msgpack.Decoder(list[Event])


class Watcher:
    """Looks at folders, in processes of its own. Use as a context manager.

    with Watcher(folders) as watcher:
        for event in watcher.turn():
            if isinstance(event, Ready):
                ...
                watcher.done(event.path)
    """

    def __init__(self, folders: Sequence[WatchedFolder]) -> None:
        self._poll = select.epoll()
        self._folders = [_Folder(folder, self._poll) for folder in folders]
        self._of: dict[bytes, _Folder] = {}  # files in hand

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self) -> None:
        """Starts the children. Raises OSError."""
        for folder in self._folders:
            folder.start(time.monotonic())

    def end(self) -> None:
        """Ends them: without waiting for one that a dead share holds."""
        for folder in self._folders:
            folder.end()
        self._poll.close()

    def processes(self) -> list[tuple[str, int | None, int]]:
        """Of each folder: its source, its child's process id (None: it has none now), and how often that was started again."""
        return [(folder.source, folder.pid, max(0, folder.starts - 1)) for folder in self._folders]

    def fileno(self) -> int:
        """A descriptor that can be read when `turn` has something."""
        return self._poll.fileno()

    def turn(self) -> list[Event]:
        """What there is, without waiting; to be called at least every second. Sends the answers that were given since."""
        now_s = time.monotonic()
        events: list[Event] = []
        for folder in self._folders:
            for event in folder.turn(now_s):
                if isinstance(event, Ready):
                    self._of[event.path] = folder
                elif isinstance(event, Settled):
                    self._of.pop(event.path, None)
                events.append(event)
        return events

    def left(self, path: bytes) -> None:
        """A file has its answer and stays where it is: it is Ready again only after it changed."""
        if folder := self._of.pop(path, None):
            folder.left(path)

    def done(self, path: bytes) -> None:
        """A file's answer is on the disk: the file is moved into `done`. Settled follows, or Trouble and later Settled."""
        if folder := self._of.get(path):
            folder.settle(path, None)

    def quarantined(self, path: bytes, reason: Quarantined) -> None:
        """A file's refusal is on the disk: the file is moved into `quarantine`, beside NAME.json. Settled follows."""
        if folder := self._of.get(path):
            folder.settle(path, reason)


class _Folder:
    """A folder and its child."""

    def __init__(self, folder: WatchedFolder, poll: select.epoll) -> None:
        self._folder = folder
        self._poll = poll
        self._in_hand: dict[bytes, bytes] = {}  # path -> identity
        self._to_settle: dict[bytes, Quarantined | None] = {}  # answered, and not Settled yet
        self._left: list[bytes] = []  # these two are not sent yet
        self._settle: list[bytes] = []
        self._child: tuple[Child, ParentEnd] | None = None
        self._killed: Child | None = None  # has perhaps not ended
        self._start_at_s = self._started_s = self._heard_s = self._turn_s = 0.0
        self._failures = 0
        self.starts = 0
        self._trouble: Trouble | None = None  # that the child knows of
        self._silent = False

    def start(self, now_s: float) -> None:
        self._child = _, end = start_child(work)
        self.starts += 1
        self._poll.register(end, select.EPOLLIN)
        end.send(msgspec.msgpack.encode(self._begin()))
        self._left, self._settle = [], list(self._to_settle)
        self._started_s = self._heard_s = self._turn_s = now_s
        self._trouble = None

    def _begin(self) -> Begin:
        choice = self._folder.choice
        folder = msgspec.structs.replace(self._folder, choice=Choice())
        include, exclude = list(map(os.fsencode, choice.include)), list(map(os.fsencode, choice.exclude))
        return Begin(folder, include, exclude, list(self._in_hand.items()))

    @property
    def source(self) -> str:
        return self._folder.source

    @property
    def pid(self) -> int | None:
        return self._child[0].pid if self._child else None

    def end(self) -> None:
        if self._child:
            process, end = self._child
            end.close()
            process.kill()  # it has nothing to lose: a file is moved in one step
            process.join(_END_S)

    def left(self, path: bytes) -> None:
        self._in_hand.pop(path, None)
        self._left.append(path)

    def settle(self, path: bytes, reason: Quarantined | None) -> None:
        self._to_settle[path] = reason
        self._settle.append(path)

    def turn(self, now_s: float) -> list[Event]:
        if not self._child:
            return self._restart(now_s)
        process, end = self._child
        events: list[Event] = []
        try:
            for message in end.receive():
                events += _EVENTS.decode(message)
        except (EOFError, msgspec.MsgspecError):
            process.kill()
            return self._lose(now_s, self._unseen("E-WATCH-LOST", f"is not watched: {_LOST}"))
        for event in events:
            self._note(event)
        if self._left or self._settle:
            end.send(msgspec.msgpack.encode(self._answers()))
        elif end.unsent:
            end.flush()
        return self._heard(now_s, events)

    def _unseen(self, code: str, met: str) -> Trouble:
        return Trouble(self._folder.source, code, f"{printable(self._folder.path)} {met}", whole=True)

    def _note(self, event: Event) -> None:
        match event:
            case Ready():
                self._in_hand[event.path] = event.identity
            case Settled():
                self._in_hand.pop(event.path, None)
                self._to_settle.pop(event.path, None)
            case Trouble():
                self._trouble = event
            case Fine():
                self._trouble = None

    def _answers(self) -> Answers:
        settle = [(path, self._to_settle[path]) for path in self._settle if path in self._to_settle]
        done = [path for path, reason in settle if not reason]
        answers = Answers(self._left, done, [(path, reason) for path, reason in settle if reason])
        self._left, self._settle = [], []
        return answers

    def _heard(self, now_s: float, events: list[Event]) -> list[Event]:
        """Adds what a silence, or its end, means. A parent that was away itself begins to count anew."""
        if events or now_s - self._turn_s > _SILENT_S / 2:
            self._heard_s = now_s
        self._turn_s = now_s
        if events and self._silent:
            self._silent = False
            return [self._trouble or Fine(self._folder.source), *events]
        silent_s = now_s - self._heard_s
        if silent_s > _LOST_S and self._child:
            self._child[0].kill()
            return self._lose(now_s, None)
        if silent_s > _SILENT_S and not self._silent:
            self._silent = True
            return [self._unseen("E-WATCH-SILENT", f"does not answer: {_SILENT}")]
        return events

    def _lose(self, now_s: float, trouble: Trouble | None) -> list[Event]:
        """Gives up a child that was killed; it is replaced later."""
        assert self._child
        self._killed, end = self._child
        self._child = None
        end.close()  # which takes it out of the epoll, too
        self._silent = False
        self._failures = 0 if now_s - self._started_s > _STEADY_S else self._failures + 1
        self._start_at_s = now_s + _AGAIN_S[min(self._failures, len(_AGAIN_S)) - 1]
        return [trouble] if trouble else []

    def _restart(self, now_s: float) -> list[Event]:
        if now_s >= self._start_at_s and not (self._killed and self._killed.is_alive()):
            try:
                self.start(now_s)
            except OSError as error:
                self._start_at_s = now_s + _AGAIN_S[-1]
                met = f"is not watched: {error.strerror}: free memory, or end other programs"
                return [self._unseen("E-WATCH-LOST", met)]
        return []


_SILENT = "check the disk, or the network and the server of the share; watching goes on once it answers"
_LOST = "the process that looks at it ended, and is started again; if it happens again, report it"
