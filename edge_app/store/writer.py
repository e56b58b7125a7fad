"""Results in SQLite: every answer is kept once, before it is reported.

WAL with synchronous=FULL: 400 simulated power cuts lost no acknowledged row; NORMAL lost 2 %. Commits are grouped, and a result
may be reported only after its commit. One process writes: see store/database.py.
"""

import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import msgspec

from limiar.edge_app import APP
from limiar.edge_app.answer import Answer
from limiar.edge_app.errors import StoreError, printable
from limiar.edge_app.store.app_files import app_sha256
from limiar.edge_app.store.audit_log import AuditLog
from limiar.edge_app.store.columns import answer_of, columns, text_of, whole_columns
from limiar.edge_app.store.database import Database
from limiar.edge_app.store.forget import STEP, chosen, entries, removed
from limiar.edge_app.store.migrate import migrate
from limiar.edge_app.store.outbox import Outbox
from limiar.edge_app.store.schema import HOLDS
from limiar.edge_app.system.clock import boot_id, utc_now

_COMMIT_AFTER_S = 0.2  # a power cut loses at most the answers of so long, and none that was reported

_ENCODER = msgspec.msgpack.Encoder()

_USE = """
    INSERT INTO bundles (sha256, name, version, file, runtime, verified) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (sha256, file, runtime) DO UPDATE SET verified = excluded.verified WHERE verified IS NOT excluded.verified"""
_ALL = "FROM results WHERE image_sha256 = ? AND bundle = ? AND coalesce(tiling, '') = ?"
_ONE = f"{_ALL} AND coalesce(frame, 0) = ?"
_SEQUENCE = f"SELECT sequence {_ONE}"
_FIND = f"""
    SELECT decision, label, confidence, probabilities, decode_ms, resize_ms, infer_ms, outside, trailing, app, time,
        frame, place, map, peaks, crc32 {_ALL}"""
_KEPT = "SELECT image_sha256 FROM results WHERE bundle = ? AND coalesce(tiling, '') = ? AND image_sha256 IN ({})"
_AT_ONCE = 500  # images in a question; SQLite before 3.32 took 999 values
_ADD = """
    INSERT INTO results (bundle, image_sha256, tiling, path, run, source,
        decision, label, confidence, probabilities, decode_ms, resize_ms, infer_ms,
        outside, trailing, app, time, frame, place, map, peaks, crc32)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (image_sha256, bundle, coalesce(tiling, ''), coalesce(frame, 0)) DO NOTHING"""
_REPLACE = """
    UPDATE results SET run = ?, source = ?,
        decision = ?, label = ?, confidence = ?, probabilities = ?, decode_ms = ?, resize_ms = ?, infer_ms = ?,
        outside = ?, trailing = ?, app = ?, time = ?, frame = ?, place = ?, map = ?, peaks = ?, crc32 = ?
    WHERE sequence = ?"""
_ADD_FRAME = """
    INSERT INTO camera_results (bundle, source, boot_id, sequence, dropped, run, frames, agreeing, spread, kept, kept_sha256,
        decision, label, confidence, probabilities, decode_ms, resize_ms, infer_ms,
        outside, trailing, app, taken, crc32)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_REFUSE = """
    INSERT INTO refusals (bundle, run, source, path, identity, image_sha256, code, message, tries, time)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (identity, bundle) DO NOTHING"""
_REFUSED = """
    SELECT source, path, identity, image_sha256, code, message, tries FROM refusals WHERE bundle = ? AND identity = ?"""
_BEGIN = "INSERT INTO in_hand (path, tries, now) VALUES (?, 0, 1) ON CONFLICT (path) DO UPDATE SET now = 1"
_ENTER = "INSERT INTO entries (kind, row, key) VALUES (?, last_insert_rowid(), randomblob(8))"


class BundleKey(msgspec.Struct, frozen=True):
    """The bundle, model file and runtime of an answer: with the image's sha256, they identify it."""

    sha256: str
    name: str
    version: str
    file: str
    runtime: str  # name and version
    labels: tuple[str, ...]  # the possible answers


class Agreement(msgspec.Struct, frozen=True):
    """How far the frames agree that a camera's decision is of."""

    frames: int  # that were looked at
    agreeing: int  # of these
    spread: float  # of the label's probability over them: largest less smallest, 0..1


class Kept(msgspec.Struct, frozen=True):
    """The picture of a camera's decision."""

    name: str  # its file, below frames/ in the state folder
    sha256: bytes


class Refusal(msgspec.Struct, frozen=True):
    """Why a file has no answer; the columns of _REFUSE from `source` on."""

    source: str  # the service's name of the folder
    path: bytes
    identity: bytes  # of the file as it was: device, inode, size, time of change
    image_sha256: bytes | None  # None: it could not be read
    code: str
    message: str
    tries: int  # that cost a worker


class Store:
    """The results database, open for writing by this process alone. Use as a context manager: leaving commits."""

    def __init__(self, path: Path, run: str = "scan") -> None:
        """Opens or creates the database. Raises StoreError as Database does, and if a newer limiar made it.

        run: what writes to it: "scan", "camera", "run", "results".
        """
        self._changed_at: float | None = None
        self._bundle: object = 0
        self._tiling: str | None = None
        self._run_kind = run
        self._run: object = None
        self._db = Database(path)
        self.path = self._db.path
        self._audit = AuditLog(self._db)
        self.outbox = Outbox(self._db, self._begin)
        try:
            migrate(self._db)
            self.outbox.open()
            self._db.note_journal()
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None or not issubclass(kind, StoreError):  # after a failed write SQLite may have rolled back
                self.commit()
        finally:
            self._db.close()

    def use(self, key: BundleKey, verified: str, tiling: str | None = None) -> None:
        """Sets the bundle, model file and runtime of the following answers, and who verified them. Raises StoreError.

        tiling: how pictures are cut into tiles, "40,8"; None: they are answered as one image.
        """
        sha256 = bytes.fromhex(key.sha256)
        self._change(_USE, (sha256, key.name, key.version, key.file, key.runtime, verified))
        found = self._db.execute(
            "SELECT id FROM bundles WHERE sha256 = ? AND file = ? AND runtime = ?", (sha256, key.file, key.runtime)
        )
        self._bundle, self._tiling = found[0][0], tiling
        self._key = key
        self._begin_run()

    def kept(self, images: Sequence[bytes]) -> set[bytes]:
        """Those of some images (sha256) that have an answer from the bundle in use, committed or not. Raises StoreError."""
        found: set[bytes] = set()
        for first in range(0, len(images), _AT_ONCE):
            some = images[first : first + _AT_ONCE]
            question = _KEPT.format(", ".join("?" * len(some)))
            rows = self._db.execute(question, (self._bundle, self._tiling or "", *some))
            found.update(sha256 for (sha256,) in rows if isinstance(sha256, bytes))
        return found

    def find(self, image_sha256: bytes, frame: int | None = None) -> Answer | None:
        """The answer for an image, or for one frame of a file with several, from 1. Raises StoreError."""
        return next((answer for answer in self.find_all(image_sha256) if answer.frame == frame), None)

    def find_all(self, image_sha256: bytes) -> list[Answer]:
        """An image's answers from the bundle in use, tiled as in use, committed or not; of each frame. Raises StoreError."""
        rows = self._db.execute(_FIND, self._identity(image_sha256, None)[:-1])
        return [self._answer(image_sha256, row) for row in rows]

    def _answer(self, image_sha256: bytes, row: Sequence[object]) -> Answer:
        *values, crc32 = row
        try:
            if crc32 not in (None, self._crc32((image_sha256,), values)):
                raise ValueError("its CRC-32 is wrong")
            return answer_of(values, self._key.labels)
        except (ValueError, msgspec.MsgspecError) as error:
            path = printable(str(self.path))
            met = f"{path}: the answer for the image with sha256 {image_sha256.hex()} is damaged ({printable(str(error))})"
            cure = "scan that image with --again, which replaces its answer"
            raise StoreError("E-STORE-DAMAGED", f"{met}: {cure}") from None

    def add(self, image_sha256: bytes, path: bytes, answer: Answer, *, source: str | None = None, replace: bool = True) -> bool:
        """Keeps an image's answer; returns whether it did. Raises StoreError.

        source: the service's name of the folder. replace: in place of an earlier one of this bundle, which otherwise stays.
        """
        values = (*columns(answer), *whole_columns(answer))
        about = (self._run, source, *values, self._crc32((image_sha256,), values))
        if self._change(_ADD, (self._bundle, image_sha256, self._tiling, path, *about)):
            self._enter("file")
            return True
        if replace:
            ((sequence,),) = self._db.execute(_SEQUENCE, self._identity(image_sha256, answer.frame))
            self._audit.replacing(sequence)
            self._change(_REPLACE, (*about, sequence))
            if self.outbox.on:
                self.outbox.put(self._audit.entry_of(sequence))
        return replace

    def _identity(self, image_sha256: bytes, frame: int | None) -> tuple[object, ...]:
        """What tells an answer from all others."""
        return image_sha256, self._bundle, self._tiling or "", frame or 0

    def add_frame(
        self,
        source: str,
        boot_id: str,
        sequence: int,
        dropped: int,
        answer: Answer,
        vote: Agreement | None = None,
        kept: Kept | None = None,
    ) -> None:
        """Keeps a camera frame's answer, once for each source, boot and sequence. Raises StoreError.

        vote: the frames that the decision is of. kept: its picture.
        """
        frame, values = (source, boot_id, sequence, dropped), columns(answer)
        of = (None, None, None) if vote is None else (vote.frames, vote.agreeing, float(vote.spread))
        picture = (None, None) if kept is None else (kept.name, kept.sha256)
        row = (self._bundle, *frame, self._run, *of, *picture, *values, self._crc32(frame, values))
        self._change(_ADD_FRAME, row)
        self._enter("frame")

    def refuse(self, refusal: Refusal) -> bool:
        """Keeps why a file has no answer, once for a file as it is; returns whether it was new. Raises StoreError."""
        row = (self._bundle, self._run, *msgspec.structs.astuple(refusal), utc_now())
        if new := self._change(_REFUSE, row) > 0:
            self._enter("refusal")
        return new

    def refusal(self, identity: bytes) -> Refusal | None:
        """Why the bundle in use has no answer for a file as it is; None if it was not refused. Raises StoreError."""
        rows = self._db.execute(_REFUSED, (self._bundle, identity))
        return Refusal(*rows[0]) if rows else None  # type: ignore[arg-type]  # the table is STRICT

    def review(self, entry: int, label: str | None, by: str, why: str) -> None:
        """Keeps what a person says about an answer, beside the model's. label: None confirms it.

        Raises StoreError, with E-RESULT-MISSING if the entry is no answer.
        """
        if not self._db.execute("SELECT 1 FROM entries WHERE id = ? AND kind IN ('file', 'frame')", (entry,)):
            raise StoreError("E-RESULT-MISSING", f"no answer has the ID {entry}: give the ID of an answer")
        self._change(
            "INSERT INTO reviews (entry, label, by, why, time) VALUES (?, ?, ?, ?, ?)", (entry, label, by, why, utc_now())
        )
        self._enter("review")

    def take_back(self, entry: int, by: str, review: int | None = None) -> None:
        """Keeps that a person takes back the review of an entry that holds; the one before it then holds again.

        review: the one that is meant. Raises StoreError, with E-RESULT-REVIEW if no review holds, or not that one.
        """
        ((holds,),) = self._db.execute(f"SELECT {HOLDS}", (entry,))
        if holds is None or review not in (None, holds):
            raise no_review(entry)
        values = (entry, by, utc_now(), holds)
        self._change("INSERT INTO reviews (entry, label, by, why, time, takes_back) VALUES (?, NULL, ?, '', ?, ?)", values)
        self._enter("review")

    def begin(self, paths: Sequence[bytes]) -> None:
        """Files are given to a worker: if the service ends without a word, that was a try. Raises StoreError."""
        self._change_each(_BEGIN, paths)

    def over(self, paths: Sequence[bytes]) -> None:
        """A worker is done with these files: if the service ends without a word, it is not for them. Raises StoreError."""
        self._change_each("UPDATE in_hand SET now = 0 WHERE path = ?", paths)

    def tried(self, paths: Sequence[bytes]) -> None:
        """A worker was lost that had these files. Raises StoreError."""
        self._change_each("UPDATE in_hand SET tries = tries + 1, now = 0 WHERE path = ?", paths)

    def ended(self, path: bytes) -> None:
        """A file has an answer, was refused, or is gone. Raises StoreError."""
        self._change("DELETE FROM in_hand WHERE path = ?", (path,))

    def given_back(self) -> None:
        """No worker has a file any more, since the service ends in order: that is no try. Raises StoreError."""
        self._change("DELETE FROM in_hand WHERE tries = 0", ())
        self._change("UPDATE in_hand SET now = 0", ())

    def left(self) -> dict[bytes, int]:
        """At start: files that cost a worker, or the service if it ended without a word -> tries. Raises StoreError."""
        self._change("UPDATE in_hand SET tries = tries + 1, now = 0 WHERE now = 1", ())
        self._change("DELETE FROM in_hand WHERE tries = 0", ())
        return dict(self._db.execute("SELECT path, tries FROM in_hand"))  # type: ignore[arg-type]  # the table is STRICT

    def audit(self, kind: str, detail: dict[str, str]) -> None:
        """Adds a row to the audit log, which also covers every entry since the row before. Raises StoreError."""
        self._begin()
        self._audit.add(kind, detail)

    def last_audit(self, kind: str) -> dict[str, str]:
        """The detail of the last row of a kind in the audit log; empty if there is none. Raises StoreError."""
        found = self._db.execute("SELECT detail FROM audit WHERE kind = ? ORDER BY id DESC LIMIT 1", (kind,))
        try:
            return msgspec.json.decode(text_of(found[0][0]), type=dict[str, str]) if found else {}
        except (ValueError, msgspec.MsgspecError) as error:
            raise self._db.damaged(f"the audit log: {error}") from None

    def forget(self, *, before: str | None = None, count: int | None = None, size: int | None = None, most: int = STEP) -> int:
        """A step of retention: removes some of the oldest entries, and says so in the audit log; returns how many.

        before: what is older than this UTC time goes; count, size: entries and bytes that may stay. most: entries that go in
        this step. Raises StoreError.
        """
        gone = chosen(self._db.execute, before, count, size, most)
        if gone:
            self._begin()
            self._audit.removing(gone[-1].entry)
            for sql, row in removed(gone):
                self._change(sql, (row,))
            self._audit.removed(len(gone), gone[-1].entry)
        return len(gone)

    @property
    def entries(self) -> int:
        """How many answers and refusals there are. Raises StoreError."""
        return entries(self._db.execute)

    @property
    def sequence(self) -> int:
        """The last entry; 0 if there is none. Raises StoreError."""
        found = self._db.execute("SELECT MAX(id) FROM entries")[0][0]
        return found if isinstance(found, int) else 0

    def last_sequence(self, source: str, boot_id: str) -> int:
        """The highest frame sequence kept for a source since boot, or 0. Raises StoreError."""
        found = self._db.execute("SELECT MAX(sequence) FROM camera_results WHERE source = ? AND boot_id = ?", (source, boot_id))
        last = found[0][0]
        if not isinstance(last, int | None):
            raise self._db.damaged(f"a frame has the sequence {last!r}")
        return last or 0

    @property
    def changed(self) -> bool:
        """Whether something was added that is not committed yet."""
        return self._changed_at is not None

    def commit_due(self) -> bool:
        """Whether answers have waited for the disk long enough."""
        return self._changed_at is not None and time.monotonic() - self._changed_at >= _COMMIT_AFTER_S

    def commit(self) -> None:
        """Puts everything added on the disk, under the given name; it may be reported after that. Raises StoreError."""
        if self._changed_at is not None:
            self._audit.before_commit()
            self._db.execute("COMMIT")
            self._changed_at = None
        self._db.check_place()
        self._audit.committed()

    def _begin_run(self) -> None:
        if self._run is None:
            sql = "INSERT INTO runs (kind, app, app_sha256, boot_id, time) VALUES (?, ?, ?, ?, ?)"
            self._change(sql, (self._run_kind, APP, app_sha256(), boot_id(), utc_now()))
            self._run = self._db.execute("SELECT last_insert_rowid()")[0][0]

    def _enter(self, kind: str) -> None:
        """The row that was just added takes its place in the order of everything."""
        self._change(_ENTER, (kind,))
        if self.outbox.on:
            self.outbox.put_last()

    def _change(self, sql: str, values: tuple[object, ...]) -> int:
        """How many rows it changed."""
        self._begin()
        return self._db.change(sql, values)

    def _change_each(self, sql: str, paths: Iterable[bytes]) -> None:
        self._begin()
        self._db.change_each(sql, ((path,) for path in paths))

    def _begin(self) -> None:
        if self._changed_at is None:
            self._db.execute("BEGIN IMMEDIATE")
            self._changed_at = time.monotonic()

    def _crc32(self, of: tuple[object, ...], values: Iterable[object]) -> int:
        """Of an answer, its image and its BundleKey, since a flipped bit may also lead to another image's row."""
        kept = [value for value in values if value is not None]
        return zlib.crc32(_ENCODER.encode((self._key.sha256, self._key.file, self._key.runtime, *of, *kept)))


def no_review(entry: int) -> StoreError:
    """Of an entry of which no review can be taken back."""
    met = f"{entry} has no review that could be taken back"
    return StoreError("E-RESULT-REVIEW", f"{met}: `limiar results show {entry}` shows its history")
