"""Results in SQLite: every answer is kept once, before it is reported.

WAL with synchronous=FULL: 400 simulated power cuts lost no acknowledged row; NORMAL lost 2 %. Commits are grouped, and a result
may be reported only after its commit. One process writes: see store/database.py.
"""

import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Self

import msgspec

from limiar.edge_app.answer import Answer
from limiar.edge_app.bundle.manifest import REFER
from limiar.edge_app.errors import StoreError, printable
from limiar.edge_app.store.database import Database

_SUM_TOLERANCE = 1e-6  # for the sum of probabilities in float64; it protects older rows, which have no crc32
_COMMIT_AFTER_S = 0.2  # a power cut loses at most the answers of so long, and none that was reported

# Only ever appended to: `user_version` counts how many of them a database has seen. A later column must be NULL in older
# rows, or their crc32 would no longer fit.
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
    """
    ALTER TABLE results ADD COLUMN crc32 INTEGER;  -- of the answer and what it belongs to; NULL: before there was this column
    ALTER TABLE camera_results ADD COLUMN crc32 INTEGER;
    """,
)

# The first column that each migration brought: a database that was saved with `sqlite3 .dump` has lost its user_version.
_BROUGHT = ("bundles.id", "bundles.verified", "results.outside", "results.crc32")

_SHARES = msgspec.json.Decoder(dict[str, Annotated[float, msgspec.Meta(ge=0, le=1)]])
_ENCODER = msgspec.msgpack.Encoder()
_OUTSIDE = msgspec.json.Decoder(tuple[str, ...])

_USE = """
    INSERT INTO bundles (sha256, name, version, file, runtime, verified) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (sha256, file, runtime) DO UPDATE SET verified = excluded.verified WHERE verified IS NOT excluded.verified"""
_FIND = """
    SELECT decision, label, confidence, probabilities, decode_ms, resize_ms, infer_ms, outside, trailing, app, time, crc32
    FROM results WHERE image_sha256 = ? AND bundle = ?"""
_KEPT = "SELECT image_sha256 FROM results WHERE bundle = ? AND image_sha256 IN ({})"
_AT_ONCE = 500  # images in a question; SQLite before 3.32 took 999 values
_ADD_NEW = """
    INSERT INTO results (bundle, image_sha256, path,
        decision, label, confidence, probabilities, decode_ms, resize_ms, infer_ms,
        outside, trailing, app, time, crc32)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (image_sha256, bundle) DO NOTHING"""
_ADD = f"""{_ADD_NEW.removesuffix("NOTHING")} UPDATE SET
        decision = excluded.decision, label = excluded.label, confidence = excluded.confidence,
        probabilities = excluded.probabilities, decode_ms = excluded.decode_ms, resize_ms = excluded.resize_ms,
        infer_ms = excluded.infer_ms, outside = excluded.outside,
        trailing = excluded.trailing, app = excluded.app, time = excluded.time, crc32 = excluded.crc32"""
_ADD_FRAME = """
    INSERT INTO camera_results (bundle, source, boot_id, sequence, dropped,
        decision, label, confidence, probabilities, decode_ms, resize_ms, infer_ms,
        outside, trailing, app, taken, crc32)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


class BundleKey(msgspec.Struct, frozen=True):
    """The bundle, model file and runtime of an answer: with the image's sha256, they identify it."""

    sha256: str
    name: str
    version: str
    file: str
    runtime: str  # name and version
    labels: tuple[str, ...]  # the possible answers


class Store:
    """The results database, open for writing by this process alone. Use as a context manager: leaving commits."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the database. Raises StoreError as Database does, and if a newer limiar made it."""
        self._changed_at: float | None = None
        self._bundle: object = 0
        self._db = Database(path)
        self.path = self._db.path
        try:
            self._migrate()
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

    def use(self, key: BundleKey, verified: str) -> None:
        """Sets the bundle, model file and runtime of the following answers, and who verified them. Raises StoreError."""
        sha256 = bytes.fromhex(key.sha256)
        self._change(_USE, (sha256, key.name, key.version, key.file, key.runtime, verified))
        found = self._db.execute(
            "SELECT id FROM bundles WHERE sha256 = ? AND file = ? AND runtime = ?", (sha256, key.file, key.runtime)
        )
        self._bundle = found[0][0]
        self._key = key

    def kept(self, images: Sequence[bytes]) -> set[bytes]:
        """Those of some images (sha256) that have an answer from the bundle in use, committed or not. Raises StoreError."""
        found: set[bytes] = set()
        for first in range(0, len(images), _AT_ONCE):
            some = images[first : first + _AT_ONCE]
            question = _KEPT.format(", ".join("?" * len(some)))
            found.update(sha256 for (sha256,) in self._db.execute(question, (self._bundle, *some)) if isinstance(sha256, bytes))
        return found

    def find(self, image_sha256: bytes) -> Answer | None:
        """The answer for an image from the bundle in use, committed or not. Raises StoreError."""
        rows = self._db.execute(_FIND, (image_sha256, self._bundle))
        if not rows:
            return None
        *values, crc32 = rows[0]
        try:
            if crc32 not in (None, self._crc32((image_sha256,), values)):
                raise ValueError("its CRC-32 is wrong")
            return _answer(values, self._key.labels)
        except (ValueError, msgspec.MsgspecError) as error:
            path = printable(str(self.path))
            met = f"{path}: the answer for the image with sha256 {image_sha256.hex()} is damaged ({printable(str(error))})"
            cure = "scan that image with --again, which replaces its answer"
            raise StoreError("E-STORE-DAMAGED", f"{met}: {cure}") from None

    def add(self, image_sha256: bytes, path: bytes, answer: Answer, *, replace: bool = True) -> bool:
        """Keeps an image's answer; returns whether it did. Raises StoreError.

        replace: in place of an earlier one of this bundle, which otherwise stays.
        """
        values = _values(answer)
        row = (self._bundle, image_sha256, path, *values, self._crc32((image_sha256,), values))
        return self._change(_ADD if replace else _ADD_NEW, row) > 0

    def add_frame(self, source: str, boot_id: str, sequence: int, dropped: int, answer: Answer) -> None:
        """Keeps a camera frame's answer, once for each source, boot and sequence. Raises StoreError."""
        frame, values = (source, boot_id, sequence, dropped), _values(answer)
        self._change(_ADD_FRAME, (self._bundle, *frame, *values, self._crc32(frame, values)))

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
            self._db.execute("COMMIT")
            self._changed_at = None
        self._db.check_place()

    def _change(self, sql: str, values: tuple[object, ...]) -> int:
        """How many rows it changed."""
        if self._changed_at is None:
            self._db.execute("BEGIN IMMEDIATE")
            self._changed_at = time.monotonic()
        return self._db.change(sql, values)

    def _crc32(self, of: tuple[object, ...], values: Iterable[object]) -> int:
        """Of an answer, its image and its BundleKey, since a flipped bit may also lead to another image's row."""
        kept = [value for value in values if value is not None]
        return zlib.crc32(_ENCODER.encode((self._key.sha256, self._key.file, self._key.runtime, *of, *kept)))

    def _migrate(self) -> None:
        version = self._db.execute("PRAGMA user_version")[0][0]
        assert isinstance(version, int)
        if version > len(MIGRATIONS):
            cure = "use a newer limiar, or another --db"
            raise StoreError(
                "E-STORE-NEWER",
                f"{printable(str(self.path))} has schema {version}, this limiar knows {len(MIGRATIONS)}: {cure}",
            )
        if version == len(MIGRATIONS):
            return
        seen = version or self._brought()
        scripts = "".join(MIGRATIONS[seen:])
        self._db.execute_script(f"BEGIN IMMEDIATE; {scripts} PRAGMA user_version = {len(MIGRATIONS)}; COMMIT;")

    def _brought(self) -> int:
        """How many migrations the tables have seen, by their columns."""
        tables = ("bundles", "results")
        has = {f"{table}.{row[1]}" for table in tables for row in self._db.execute(f"PRAGMA table_info({table})")}
        return sum(column in has for column in _BROUGHT)


def _values(answer: Answer) -> tuple[object, ...]:
    """The columns of _ADD and _ADD_FRAME from `decision` on."""
    probabilities = msgspec.json.encode(answer.probabilities).decode()
    ms = (float(answer.ms.decode), float(answer.ms.resize), float(answer.ms.infer))  # as a REAL column returns them
    outside = None if answer.outside is None else msgspec.json.encode(answer.outside).decode()
    start = (answer.decision, answer.label, float(answer.confidence), probabilities)
    return *start, *ms, outside, answer.trailing, answer.app, answer.time


def _answer(values: Sequence[object], labels: tuple[str, ...]) -> Answer:
    """The columns of _FIND -> Answer. Raises ValueError and MsgspecError if they are not an answer with these labels."""
    decision, label, confidence, probabilities, decode, resize, infer, outside, trailing, app, at = values
    found = {
        "decision": decision,
        "label": label,
        "confidence": confidence,
        "probabilities": _SHARES.decode(_text(probabilities)),
        "ms": {"decode": decode, "resize": resize, "infer": infer},
        "time": at,
        "app": app,
        "outside": None if outside is None else _OUTSIDE.decode(_text(outside)),
        "trailing": trailing,
    }
    answer = msgspec.convert(found, Answer)
    shares = answer.probabilities
    whole = abs(sum(shares.values()) - 1) < _SUM_TOLERANCE and shares.get(answer.label) == answer.confidence
    if tuple(shares) != labels or not whole or answer.decision not in (*labels, REFER):
        raise ValueError("it is not an answer that this model can give")
    return answer


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a column of text holds something else")
    return value
