"""Prints whether a results database is whole, and what is in it, as one JSON object. For the guest; needs only Python."""

import contextlib
import json
import sqlite3
import sys
from pathlib import Path


def main(path: Path) -> None:
    if not path.exists():  # at the first start
        print(json.dumps({"integrity": "ok", "images": [], "frames": {}}))
        return
    with contextlib.closing(sqlite3.connect(path)) as db:
        found = {
            "integrity": db.execute("PRAGMA integrity_check").fetchone()[0],
            "images": [sha256.hex() for (sha256,) in db.execute("SELECT image_sha256 FROM results")],
            "frames": dict(db.execute("SELECT source, COUNT(*) FROM camera_results GROUP BY source")),
        }
    print(json.dumps(found))


try:
    main(Path(sys.argv[1]))
except sqlite3.Error as error:
    print(json.dumps({"integrity": str(error), "images": [], "frames": {}}))
