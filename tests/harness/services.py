"""A running `limiar run`, for tests: started, killed, looked at."""

import io
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from running import REAL, RunningCommand


def noise(count: int, seed: int = 0) -> list[bytes]:
    """Small grey PNG files, all different."""
    rng = np.random.default_rng(seed)
    files = []
    for _ in range(count):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (50, 50), dtype=np.uint8)).save(file, "PNG", compress_level=1)
        files.append(file.getvalue())
    return files


class Service(RunningCommand):
    """`limiar run` with one watched folder, FOLDER/inbox, and its state in FOLDER/state."""

    def __init__(
        self,
        folder: Path,
        bundle: Path | str,
        *,
        more: str = "",
        script: str = REAL,
        workers: int = 1,
        around: Sequence[str | Path] = (),
    ) -> None:
        """more: of the configuration. script: what Python runs in place of the command.

        around: a command that becomes the one that follows it, without a process of its own.
        """
        self.folder, self.inbox, self.state = folder, folder / "inbox", folder / "state"
        self.config, self.db = folder / "limiar.toml", folder / "state" / "results.db"
        super().__init__(["run", str(self.config)], folder / "log", {"LIMIAR_STATE": str(self.state)})
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.config.write_text(f'[answer]\nbundle = "{bundle}"\nworkers = {workers}\n[[folder]]\npath = "inbox"\n{more}')
        self.script, self.around = script, around

    def put(self, name: str, data: bytes) -> Path:
        """A file that appears in the watched folder at once, by a rename."""
        target = self.inbox / name
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        partial.write_bytes(data)
        partial.rename(target)
        return target

    def rows(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Of its database, beside the running service; none before it has one."""
        if not self.db.exists():
            return []
        connection = sqlite3.connect(f"file:{self.db}?mode=ro", uri=True)
        try:
            return connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError:  # it has no tables yet
            return []
        finally:
            connection.close()

    def waiting(self) -> list[Path]:
        """Files in the watched folder that were not moved yet."""
        moved = (self.inbox / "done", self.inbox / "quarantine")
        return [path for path in self.inbox.rglob("*") if path.is_file() and not any(one in path.parents for one in moved)]

    def done(self) -> dict[str, bytes]:
        """Answered files by name."""
        return {path.name: path.read_bytes() for path in (self.inbox / "done").rglob("*") if path.is_file()}

    def quarantined(self) -> dict[str, dict[str, object]]:
        """Refused files by name, with what NAME.json says."""
        folder = self.inbox / "quarantine"
        found = (path for path in folder.rglob("*") if path.is_file())
        reasons = {path.name: path for path in found}
        return {
            name: msgspec.json.decode(reasons[f"{name}.json"].read_bytes()) for name in reasons if f"{name}.json" in reasons
        }
