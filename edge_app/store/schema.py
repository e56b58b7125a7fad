"""The tables of the results database, and how an older one gets them."""

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
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,              -- "scan", "camera", "run"
        app TEXT NOT NULL,               -- "limiar 0.1.0"
        app_sha256 BLOB NOT NULL,        -- of the files that ran
        boot_id TEXT NOT NULL,
        time TEXT NOT NULL
    ) STRICT;
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT,  -- the one order of everything below, and the ID that people are shown
        kind TEXT NOT NULL,              -- "file", "frame", "refusal", "review": results, camera_results, refusals, reviews
        row INTEGER NOT NULL             -- in that table
    ) STRICT;
    ALTER TABLE results ADD COLUMN run INTEGER REFERENCES runs (id);  -- NULL: before there was this column
    ALTER TABLE results ADD COLUMN source TEXT;  -- the service's name of the folder
    ALTER TABLE camera_results ADD COLUMN run INTEGER REFERENCES runs (id);
    ALTER TABLE camera_results ADD COLUMN frames INTEGER;    -- that were looked at for this decision; NULL: this frame alone
    ALTER TABLE camera_results ADD COLUMN agreeing INTEGER;  -- of these
    ALTER TABLE camera_results ADD COLUMN spread REAL;       -- of the label's probability over them, largest less smallest
    ALTER TABLE camera_results ADD COLUMN kept TEXT;         -- the picture's file, below frames/ in the state folder
    ALTER TABLE camera_results ADD COLUMN kept_sha256 BLOB;
    CREATE TABLE refusals (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        bundle INTEGER NOT NULL REFERENCES bundles (id),
        run INTEGER NOT NULL REFERENCES runs (id),
        source TEXT NOT NULL,
        path BLOB NOT NULL,
        identity BLOB NOT NULL,          -- of the file as it was: device, inode, size, time of change
        image_sha256 BLOB,               -- NULL: it could not be read
        code TEXT NOT NULL,
        message TEXT NOT NULL,
        tries INTEGER NOT NULL,          -- that cost a worker
        time TEXT NOT NULL,
        UNIQUE (identity, bundle)
    ) STRICT;
    CREATE TABLE reviews (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        entry INTEGER NOT NULL REFERENCES entries (id),
        label TEXT,                      -- NULL: the model's label is right
        by TEXT NOT NULL,
        why TEXT NOT NULL,
        time TEXT NOT NULL
    ) STRICT;
    CREATE INDEX reviews_entry ON reviews (entry);
    CREATE TABLE in_hand (
        path BLOB PRIMARY KEY,           -- a file that a worker has, or over which one was lost
        tries INTEGER NOT NULL,          -- that cost a worker or the service so far
        now INTEGER NOT NULL             -- 1: a worker has it now
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time TEXT NOT NULL,
        boot_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL,            -- JSON, text to text
        entry INTEGER NOT NULL,          -- the last of the entries that `digest` covers
        digest BLOB NOT NULL,            -- of the entries since the row before
        hash BLOB NOT NULL               -- of this row and the hash before it
    ) STRICT;
    INSERT INTO entries (kind, row) SELECT 'file', sequence FROM results ORDER BY sequence;
    INSERT INTO entries (kind, row) SELECT 'frame', id FROM camera_results ORDER BY id;
    """,
    """
    ALTER TABLE reviews ADD COLUMN takes_back INTEGER REFERENCES reviews (id);  -- an earlier one of the entry; NULL: a review
    """,
    """
    ALTER TABLE results ADD COLUMN tiling TEXT;   -- "40,8": size and stride of its tiles; NULL: answered as one image
    ALTER TABLE results ADD COLUMN frame INTEGER; -- from 1, of a file with several pictures; NULL: it has one
    ALTER TABLE results ADD COLUMN place TEXT;    -- JSON, SlicePlace; NULL: not DICOM
    ALTER TABLE results ADD COLUMN map BLOB;      -- TileMap as MessagePack, its scores compressed with zlib; NULL: no tiles
    ALTER TABLE results ADD COLUMN peaks TEXT;    -- JSON, of the map; NULL: no tiles
    DROP INDEX results_image;
    CREATE UNIQUE INDEX results_image ON results (image_sha256, bundle, coalesce(tiling, ''), coalesce(frame, 0));
    """,
    """
    ALTER TABLE entries ADD COLUMN key BLOB; -- random: tells an entry from those of other stores and copies
    CREATE TABLE uplink (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        store BLOB NOT NULL,             -- random: with a sequence it names a row of the outbox
        acked INTEGER NOT NULL           -- up to here a collector has committed
    ) STRICT;
    CREATE TABLE outbox (                -- while there is an uplink, what has not been committed elsewhere
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        entry INTEGER NOT NULL,
        mark BLOB NOT NULL DEFAULT (randomblob(8)) -- tells it from what a copy of the store has at this sequence
    ) STRICT;
    CREATE INDEX outbox_entry ON outbox (entry);
    """,
)

# Keys of entries that were there before the column: the same in each copy of a database, or a copy that is put back and brought
# up to date once more would send its fleet every entry as a new one. `limiar_key` is in migrate.py.
KEYS = """
    UPDATE entries SET key = limiar_key((SELECT boot_id || time FROM runs ORDER BY id LIMIT 1), id, kind, CASE kind
        WHEN 'file' THEN (SELECT image_sha256 FROM results r WHERE r.sequence = entries.row)
        WHEN 'frame' THEN (SELECT source || boot_id || sequence FROM camera_results c WHERE c.id = entries.row)
        WHEN 'refusal' THEN (SELECT identity FROM refusals f WHERE f.id = entries.row)
        ELSE (SELECT by || time FROM reviews w WHERE w.id = entries.row)
    END);
"""
KEYS_SINCE = 8  # migrations

# The first column that each migration brought: a database that was saved with `sqlite3 .dump` has lost its user_version.
BROUGHT = (
    "bundles.id",
    "bundles.verified",
    "results.outside",
    "results.crc32",
    "results.run",
    "reviews.takes_back",
    "results.tiling",
    "entries.key",
)

# The review of an entry that holds: the last that takes none back, and was not taken back.
HOLDS = """(
    SELECT max(w.id) FROM reviews w WHERE w.entry = ? AND w.takes_back IS NULL
    AND NOT EXISTS (SELECT 1 FROM reviews x WHERE x.entry = w.entry AND x.takes_back = w.id)
)"""
