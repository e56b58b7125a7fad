"""A copy of the results database that is whole, once a day, and the way back to it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from limiar.edge_app.errors import StoreError, printable
from limiar.edge_app.system.files import sync_directory, sync_file

_SUFFIX = ".snapshot"


def snapshot_path(db: Path) -> Path:
    """results.db.snapshot, beside results.db."""
    return db.with_name(f"{db.name}{_SUFFIX}")


def take_snapshot(db: Path) -> None:
    """Copies the database, whole or not at all, while its writer goes on. Raises OSError and sqlite3.Error.

    Another process should do this, since a million answers take seconds: a new one, not a fork of the writer.
    """
    path, partial = snapshot_path(db), db.with_name(f".{db.name}{_SUFFIX}.partial")
    partial.unlink(missing_ok=True)
    with closing(sqlite3.connect(f"{db.resolve().as_uri()}?mode=ro", uri=True)) as source:
        source.execute("VACUUM INTO ?", (str(partial),))
    sync_file(partial)
    partial.replace(path)
    sync_directory(path.parent)


def restore(db: Path) -> str:
    """Moves a damaged database aside and puts the snapshot in its place, or a new one begins; says what it did.

    Raises StoreError E-STORE-WRITE. Nothing may have the database open.
    """
    aside = db.with_name(f"{db.name}.damaged")
    number = 1
    while os.path.lexists(aside):
        number += 1
        aside = db.with_name(f"{db.name}.damaged-{number}")
    try:
        for suffix in ("-wal", "-shm", ".head"):  # first, so that the snapshot never meets the old journal
            if os.path.lexists(f"{db}{suffix}"):
                os.replace(f"{db}{suffix}", f"{aside}{suffix}")
        db.replace(aside)
        snapshot = snapshot_path(db)
        found = snapshot.exists()
        if found:
            snapshot.replace(db)
        sync_directory(db.parent)
    except OSError as error:
        raise StoreError("E-STORE-WRITE", f"{printable(str(db))}: {error.strerror}: check the disk") from None
    now = "the last snapshot takes its place" if found else "there is no snapshot, so a new database begins"
    return f"the damaged database is kept as {printable(str(aside))}; {now}"
