"""The outbox of a device's store, read beside the process that writes it, which alone changes it when it is asked."""

import errno
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from limiar.edge_app.bundle.manifest import REFER
from limiar.edge_app.control import AskDelivered, AskRenew, AskStatus, AskUplink, Question, ask
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.fleet.messages import LONGEST, Row
from limiar.edge_app.fleet.rows import Picture, fitted, no_picture, row_of
from limiar.edge_app.health.log import Log
from limiar.edge_app.health.status import Status
from limiar.edge_app.results.picture_file import places
from limiar.edge_app.store.outbox import Uplink
from limiar.edge_app.store.outgoing import mark_of, outgoing, uplink_of
from limiar.edge_app.store.reader import Entry, Reader
from limiar.edge_app.system.files import read_bounded

_AT_LEAST_S = 2.0  # it is read so often, even if its files look the same
_STATUS = msgspec.json.Decoder(Status)


class StoreOutbox:
    """Opens the database anew for each look: a copy that was put in its place is another file."""

    def __init__(
        self, database: Path, *, paths: bool = True, picture: Picture = no_picture, now: Callable[[], float] = time.monotonic
    ) -> None:
        """paths, picture: as for `row_of`."""
        self._database, self._paths, self._picture, self._now = database, paths, picture, now
        self._looked: object = None
        self._looked_at = 0.0
        self._uplink: Uplink | None = None
        self.longest = LONGEST  # bytes of a message that the broker takes

    def uplink(self) -> Uplink | None:
        """Raises StoreError."""
        look = self._look()
        if look != self._looked or self._now() - self._looked_at > _AT_LEAST_S:
            with Reader(self._database) as reader:
                self._uplink = uplink_of(reader)
            self._looked, self._looked_at = look, self._now()
        return self._uplink

    def _look(self) -> object:
        """What changes with each commit: nothing is opened for it."""
        found: list[object] = []
        for name in (self._database, f"{self._database}-wal"):
            try:
                status = os.stat(name)
            except OSError:
                found.append(None)
            else:
                found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return found

    def rows(self, after: int, most: int) -> tuple[str | None, list[Row]]:
        """Raises StoreError, and OSError if the disk fails."""
        with Reader(self._database) as reader:
            found = outgoing(reader, after - 1, most + 1) if after else outgoing(reader, 0, most)
        before = found.pop(0) if found and found[0].sequence == after else None
        rows = (row_of(one, paths=self._paths, picture=self._picture) for one in found[:most])
        return before.mark.hex() if before else None, fitted(rows, self.longest)

    def mark_of(self, sequence: int) -> str | None:
        """Raises StoreError."""
        with Reader(self._database) as reader:
            mark = mark_of(reader, sequence)
        return mark.hex() if mark else None


def pictures(state: Path, moved_to: tuple[str, ...], which: str, most_bytes: int) -> Picture:
    """The images that leave the device. which: "off", "refer" or "all"; larger ones stay."""
    if which == "off":
        return no_picture

    def picture(entry: Entry) -> bytes | None:
        if entry.kind == "refusal" or which == "refer" and entry.decision != REFER:
            return None
        wanted = entry.image_sha256 or entry.kept_sha256
        for path in places(state, entry, moved_to):
            try:
                data = read_bounded(path, most_bytes)
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.EIO):
                    raise
                continue
            if hashlib.sha256(data).digest() == wanted:
                return data
        return None

    return picture


class ControlService:
    """The service of a state folder, asked over its socket."""

    def __init__(self, state: Path, log: Log) -> None:
        self._state, self._log = state, log

    def delivered(self, store: bytes, sequence: int) -> bool:
        return self._ask(AskDelivered(store.hex(), sequence)) is not None

    def renew(self, store: bytes) -> bool:
        if done := self._ask(AskRenew(store.hex())) is not None:
            met = "this store or the collector went back to an older copy"
            self._log.warning("W-FLEET-RENEWED", f"{met}: everything is sent again")
        return done

    def tell(self, code: str, message: str) -> bool:
        """What is wrong with the uplink, for its status."""
        return self._ask(AskUplink(code, message)) is not None

    def status(self) -> Status | None:
        """None: it does not answer now."""
        said = self._ask(AskStatus())
        return _STATUS.decode(said) if said else None

    def _ask(self, question: Question) -> bytes | None:
        try:
            answer = ask(self._state, question)
        except LimiarError as error:
            self._log.state("service", "warning", error.code, error.message)
            return None
        if answer is not None:
            self._log.over("service", "the service answers again")
        return answer
