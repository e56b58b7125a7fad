"""What makes a row the only one of its kind, and rows sorted by it in partitions on the disk: memory does not grow with them.

A key is the image's sha256 and the number of the frame; of a file that could not be read, its path. Keys are compared as four
numbers of 64 bits, by numpy, since a loop over a thousand million rows in Python would take an hour.
"""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from limiar.edge_app.output.files import writable

COLUMNS = ("path", "path_base64", "sha256", "frame", "decision")  # that `keys` needs
HELD = 1 << 18  # records in memory at once: of a partition, and before they are written to theirs
REFUSED_LAST = 1 << 62  # added to the number of a refused row: of the same key, an answer comes first
_NO_FRAME, _BY_PATH = -1, -2  # in place of a frame's number

Records = NDArray[np.void]

KEY = [("key", "<u8", 4), ("frame", "<i4"), ("group", "<i4"), ("row", "<i8")]


def keys(batch: pa.RecordBatch, first: int, dtype: np.dtype[np.void]) -> Records:
    """A record for each row, with its key and its number among all rows; first: the number of the first one."""
    records = np.zeros(batch.num_rows, dtype)
    sha256, frame = batch.column("sha256"), batch.column("frame")
    lost = np.asarray(sha256.is_null())
    data = np.frombuffer(sha256.buffers()[1], "<u8")[4 * sha256.offset :][: 4 * len(sha256)]
    records["key"] = data.reshape(-1, 4)
    records["frame"] = np.asarray(frame.fill_null(_NO_FRAME))
    records["row"] = np.arange(first, first + batch.num_rows)
    for row in np.flatnonzero(lost):
        text, encoded = batch.column("path")[row].as_py(), batch.column("path_base64")[row].as_py()
        path = base64.b64decode(encoded) if encoded else text.encode()
        records["key"][row] = np.frombuffer(hashlib.sha256(path).digest(), "<u8")
        records["frame"][row] = _BY_PATH
    return records


def numbers(column: pa.Array, known: dict[object, int]) -> NDArray[np.int32]:
    """Texts as numbers; those that are not known yet get the next ones."""
    found = column.dictionary_encode(null_encoding="encode")
    values = found.dictionary.to_pylist()
    places = np.array([known.setdefault(value, len(known)) for value in values] or [0], np.int32)
    return places[np.asarray(found.indices)] if len(column) else np.zeros(0, np.int32)


def first_of_each(records: Records) -> tuple[Records, Records]:
    """(the first record of each key and group, sorted by key; the others). First is the one with the smallest `row`."""
    key = records["key"]
    order = np.lexsort((records["row"], records["group"], records["frame"], key[:, 3], key[:, 2], key[:, 1], key[:, 0]))
    ordered = records[order]
    again = same_as_next(ordered) & (ordered["group"][1:] == ordered["group"][:-1])
    again = np.concatenate([np.zeros(min(1, len(ordered)), np.bool_), again])
    return ordered[~again], ordered[again]


def same_as_next(ordered: Records) -> NDArray[np.bool_]:
    """Of each record but the last one: whether the next one has the same key."""
    same: NDArray[np.bool_] = (ordered["key"][1:] == ordered["key"][:-1]).all(axis=1)
    same &= ordered["frame"][1:] == ordered["frame"][:-1]
    return same


class Partitions:
    """Records on the disk; those of one key are in the same partition.

    Adding leaves out those whose key and group came before among the last ones: of a million copies of one image, a few are
    written.
    """

    def __init__(self, folder: Path, dtype: np.dtype[np.void], rows: int) -> None:
        """rows: how many will come, about."""
        self._folder = folder
        self._dtype = dtype
        self._count = max(1, -(-rows // HELD))
        self._held: list[Records] = []
        self._waiting = 0
        folder.mkdir(exist_ok=True)

    def add(self, records: Records) -> Records:
        """Takes records; returns those of the latest that are not the first of their key. Raises OutputError."""
        self._held.append(records)
        self._waiting += len(records)
        return self.flush() if self._waiting >= HELD else records[:0]

    def flush(self) -> Records:
        """Writes what waits; returns as `add`. Raises OutputError."""
        records = np.concatenate([np.zeros(0, self._dtype), *self._held])
        self._held, self._waiting = [], 0
        kept, lost = first_of_each(records)
        home = kept["key"][:, 0] % np.uint64(self._count)
        kept = kept[np.argsort(home, kind="stable")]
        starts = np.searchsorted(np.sort(home), np.arange(self._count + 1))
        for part in np.flatnonzero(np.diff(starts)).tolist():
            with writable(self._path(part)), open(self._path(part), "ab") as file:
                file.write(kept[starts[part] : starts[part + 1]].tobytes())
        return lost

    def __iter__(self) -> Iterator[Records]:
        """The records of each partition; its file is removed then."""
        for part in range(self._count):
            path = self._path(part)
            if path.exists():
                yield np.fromfile(path, self._dtype)
                path.unlink()

    def _path(self, part: int) -> Path:
        return self._folder / f"{part:06d}"
