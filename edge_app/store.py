"""Results in SQLite: every answer once, kept before it is reported.

WAL with synchronous=FULL: 400 simulated power cuts lost no acknowledged row, where NORMAL lost 2 %. Commits are grouped, and
a result may be reported only after its commit. One process writes: a lock file beside the database keeps a second one out.
"""

import errno
import fcntl
import os
import sqlite3
import time
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from edge_app.answer import Answer, Timing
from edge_app.errors import StoreError, printable

_COMMIT_AFTER_S = 0.2  # of answers at most are lost with the power, and none of them was reported
_BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

# Only ever appended to: `user_version` counts how many of them a database has seen.
MIGRATIONS = (
    """
    CREATE TABLE bundles (
        id INTEGER PRIMARY KEY,
        sha256 BLOB NOT NULL,            -- of manifest.json
        name TEXT NOT NULL,
        version TEXT NOT NULL,
        file TEXT NOT NULL,              -- model file
        runtime TEXT NOT NULL,           -- "litert 2.3.0"
        UNIQUE (sha256, file, runtime)
    ) STRICT;
    CREATE TABLE results (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order; a device's clock may jump
        bundle INTEGER NOT NULL REFERENCES bundles (id),
        image_sha256 BLOB NOT NULL,
        path BLOB NOT NULL,              -- as the file system has it, where the image was first seen
        decision TEXT NOT NULL,
        label TEXT NOT NULL,
        confidence REAL NOT NULL,
        probabilities TEXT NOT NULL,     -- JSON, label -> 0..1
        decode_ms REAL NOT NULL,
        resize_ms REAL NOT NULL,
        infer_ms REAL NOT NULL,
        app TEXT NOT NULL,
        time TEXT NOT NULL               -- UTC, by the device's clock
    ) STRICT;
    CREATE UNIQUE INDEX results_image ON results (image_sha256, bundle);
    CREATE TABLE camera_results (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        bundle INTEGER NOT NULL REFERENCES bundles (id),
        source TEXT NOT NULL,            -- "v4l2:/dev/video0"
        boot_id TEXT NOT NULL,
        sequence INTEGER NOT NULL,       -- of the frame, over all runs since boot
        dropped INTEGER NOT NULL,        -- frames passed over since the one before
        decision TEXT NOT NULL,
        label TEXT NOT NULL,
        confidence REAL NOT NULL,
        probabilities TEXT NOT NULL,
        decode_ms REAL NOT NULL,
        resize_ms REAL NOT NULL,
        infer_ms REAL NOT NULL,
        app TEXT NOT NULL,
        taken TEXT NOT NULL,             -- UTC, by the device's clock
        UNIQUE (source, boot_id, sequence)
    ) STRICT;
    """,
    """
    ALTER TABLE bundles ADD COLUMN verified TEXT;  -- "bundle" or "device", at its last use; NULL: before there was this column
    """,
    """
    ALTER TABLE results ADD COLUMN outside TEXT;  -- JSON, statistics outside the envelope; NULL: not compared with one
    ALTER TABLE results ADD COLUMN trailing TEXT NOT NULL DEFAULT '';  -- what follows the picture in its file
    ALTER TABLE camera_results ADD COLUMN outside TEXT;
    ALTER TABLE camera_results ADD COLUMN trailing TEXT NOT NULL DEFAULT '';
    """,
)

_PROBABILITIES = msgspec.json.Decoder(dict[str, float])
_OUTSIDE = msgspec.json.Decoder(tuple[str, ...])

_USE = """
    INSERT INTO bundles (sha256, name, version, file, runtime, verified) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (sha256, file, runtime) DO UPDATE SET verified = excluded.verified WHERE verified IS NOT excluded.verified"""
_FIND = """
    SELECT decision, label, confidence, probabilities, decode_ms, resize_ms, infer_ms, outside, trailing, app, time
    FROM results WHERE image_sha256 = ? AND bundle = ?"""
_ADD = """
    INSERT INTO results (bundle, image_sha256, path,
        decision, label, confidence, probabilities, decode_ms, resize_ms, infer_ms,
        outside, trailing, app, time)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (image_sha256, bundle) DO UPDATE SET
        decision = excluded.decision, label = excluded.label, confidence = excluded.confidence,
        probabilities = excluded.probabilities, decode_ms = excluded.decode_ms, resize_ms = excluded.resize_ms,
        infer_ms = excluded.infer_ms, outside = excluded.outside,
        trailing = excluded.trailing, app = excluded.app, time = excluded.time"""
_ADD_FRAME = """
    INSERT INTO camera_results (bundle, source, boot_id, sequence, dropped,
        decision, label, confidence, probabilities, decode_ms, resize_ms, infer_ms,
        outside, trailing, app, taken)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


class BundleKey(msgspec.Struct, frozen=True):
    """What an answer came from: with the image's sha256 it makes the answer unique."""

    sha256: str
    name: str
    version: str
    file: str
    runtime: str  # name and version


class Store:
    """The results database, open for writing by this process alone. Use as a context manager: leaving commits."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the database. Raises StoreError: another process writes, not a database, or the disk refuses."""
        self.path = path = path.resolve()  # a link has no lock of its own
        self._changed_at: float | None = None
        try:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(path)
        except OSError as error:
            raise self._broken(error) from None
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            self._migrate()
        except sqlite3.Error as error:
            self._lock.close()
            raise self._broken(error) from None
        self._bundle = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None or not issubclass(kind, StoreError):  # after a failed write SQLite may have rolled back
                self.commit()
        finally:
            self._db.close()
            self._lock.close()

    def use(self, key: BundleKey, verified: str) -> None:
        """Answers from now on come from this bundle, model file and runtime, and who verified them. Raises StoreError."""
        sha256 = bytes.fromhex(key.sha256)
        self._change(_USE, (sha256, key.name, key.version, key.file, key.runtime, verified))
        found = self._execute(
            "SELECT id FROM bundles WHERE sha256 = ? AND file = ? AND runtime = ?", (sha256, key.file, key.runtime)
        )
        (self._bundle,) = found.fetchone()

    def find(self, image_sha256: bytes) -> Answer | None:
        """The answer for an image from the bundle in use, also one that is not yet committed. Raises StoreError."""
        row = self._execute(_FIND, (image_sha256, self._bundle)).fetchone()
        if row is None:
            return None
        decision, label, confidence, probabilities, *ms, outside, trailing, app, at = row
        shares, unlike = _PROBABILITIES.decode(probabilities), None if outside is None else _OUTSIDE.decode(outside)
        return Answer(decision, label, confidence, shares, Timing(*ms), at, app, unlike, trailing)

    def add(self, image_sha256: bytes, path: bytes, answer: Answer) -> None:
        """Keeps an image's answer; one that is there already for this bundle is replaced. Raises StoreError."""
        self._change(_ADD, (self._bundle, image_sha256, path, *_values(answer)))

    def add_frame(self, source: str, boot_id: str, sequence: int, dropped: int, answer: Answer) -> None:
        """Keeps a camera frame's answer, once per source, boot and sequence. Raises StoreError."""
        self._change(_ADD_FRAME, (self._bundle, source, boot_id, sequence, dropped, *_values(answer)))

    def last_sequence(self, source: str, boot_id: str) -> int:
        """The highest frame sequence kept for a source since boot, 0 without one. Raises StoreError."""
        found = self._execute("SELECT MAX(sequence) FROM camera_results WHERE source = ? AND boot_id = ?", (source, boot_id))
        (last,) = found.fetchone()
        return last or 0

    @property
    def changed(self) -> bool:
        """Is anything added that is not committed?"""
        return self._changed_at is not None

    def commit_due(self) -> bool:
        """Have answers waited for the disk long enough?"""
        return self._changed_at is not None and time.monotonic() - self._changed_at >= _COMMIT_AFTER_S

    def commit(self) -> None:
        """On return everything added is on the disk and may be reported. Raises StoreError."""
        if self._changed_at is not None:
            self._execute("COMMIT")
            self._changed_at = None

    def _change(self, sql: str, values: tuple[object, ...]) -> None:
        if self._changed_at is None:
            self._execute("BEGIN IMMEDIATE")
            self._changed_at = time.monotonic()
        self._execute(sql, values)

    def _execute(self, sql: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise self._broken(error) from None

    def _migrate(self) -> None:
        (seen,) = self._db.execute("PRAGMA user_version").fetchone()
        if seen > len(MIGRATIONS):
            cure = "use a newer limiar, or another --db"
            raise StoreError(
                "E-STORE-NEWER",
                f"{printable(str(self.path))} has schema {seen}, this app knows {len(MIGRATIONS)}: {cure}",
            )
        for number, script in enumerate(MIGRATIONS[seen:], seen + 1):
            self._db.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")

    def _broken(self, error: Exception) -> StoreError:
        where = printable(str(self.path))
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY_CODES:
            return StoreError("E-STORE-BUSY", f"{where} is locked by another program: close it, or use another --db")
        if isinstance(error, BlockingIOError):
            return StoreError("E-STORE-BUSY", f"another limiar writes to {where}: wait for it, or use another --db")
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            return StoreError("E-STORE-FULL", f"the disk of {where} is full; what was reported is kept: free space, run again")
        cure = "check that it is a limiar database and its disk can be written, or use another --db"
        return StoreError("E-STORE-WRITE", f"{where}: {error}: {cure}")


def _values(answer: Answer) -> tuple[object, ...]:
    """In the order of _ADD and _ADD_FRAME, from the decision on."""
    probabilities = msgspec.json.encode(answer.probabilities).decode()
    ms = (answer.ms.decode, answer.ms.resize, answer.ms.infer)
    outside = None if answer.outside is None else msgspec.json.encode(answer.outside).decode()
    start = (answer.decision, answer.label, answer.confidence, probabilities)
    return *start, *ms, outside, answer.trailing, answer.app, answer.time


def default_path() -> Path:
    """results.db in limiar's state folder."""
    return state_folder() / "results.db"


def state_folder() -> Path:
    """Where limiar keeps what it must remember: LIMIAR_STATE, else XDG_STATE_HOME/limiar, else ~/.local/state/limiar."""
    if state := os.environ.get("LIMIAR_STATE"):
        return Path(state)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "limiar"


def _lock(path: Path) -> BinaryIO:
    """An advisory lock that the kernel frees when its holder ends, however it ends. Raises BlockingIOError."""
    file = path.with_name(f"{path.name}.lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file
