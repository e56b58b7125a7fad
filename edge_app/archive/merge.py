"""`limiar.merge_archive`: the files of all chunks -> one file, or a folder of files, in the order of the plan.

Of rows with the same image sha256, frame, bundle, model file and runtime one is kept: the first answer, or else the first
refusal. A file that could not be read has no sha256; there the path takes its place. First the keys alone are read and sorted,
in partitions on the disk, and each row that is not to be kept is marked in a file; then all rows are read again and
written.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from limiar.edge_app.archive.answers import Answers, open_answers
from limiar.edge_app.archive.columns import GROUP_ROWS, RowFile, read_rows
from limiar.edge_app.archive.keys import COLUMNS, KEY, REFUSED_LAST, Partitions, first_of_each, keys, numbers
from limiar.edge_app.bundle.manifest import REFUSED
from limiar.edge_app.errors import ArchiveError, printable
from limiar.edge_app.output.files import writable
from limiar.edge_app.system.files import partial_folder, sync_directory

FILE_ROWS = 1_000_000  # of a file in a folder: 100 MB, more or less
_DTYPE = np.dtype(KEY)
_BY = ("bundle", "file", "runtime")
_SEPARATOR = "\0"

Progress = Callable[[str, int, int], None]  # what it does, rows so far, of so many


class Merged(msgspec.Struct, frozen=True):
    """What was merged."""

    rows: int  # written
    double: int  # rows that were left out: the same image, bundle, file and runtime once more
    refused: dict[str, int]  # code -> rows written
    images: int  # paths that were tried
    missing: int  # chunks that are not done
    files: int
    bytes: int  # of them
    seconds: float


def merge_archive(
    out: Path | str,
    to: Path | str,
    *,
    partial: bool = False,
    progress: Progress = lambda step, rows, all_rows: None,
    file_rows: int = FILE_ROWS,
) -> Merged:
    """Make one result of the answers of an archive, as `limiar archive merge` does.

        limiar.merge_archive("work", "answers.parquet")

    to: a name that ends in .parquet: one file. Otherwise a new folder, with files of `file_rows` rows. Either appears whole or
    not at all. partial: do without the chunks that are not done. Besides the result, the disk of `to` needs 49 bytes a row
    meanwhile.

    Raises ArchiveError: E-MERGE-MISSING, E-MERGE-SOURCE, E-MERGE-OUT, E-CHUNK-DAMAGED, E-PLAN-*; OutputError.
    """
    started = time.monotonic()
    to = Path(to).absolute()
    if to.suffix == ".parquet" and to.is_dir():
        raise ArchiveError("E-MERGE-OUT", f"{printable(str(to))} is a folder: give a file, or a new folder without .parquet")
    if to.suffix != ".parquet" and to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ArchiveError("E-MERGE-OUT", f"{printable(str(to))} exists: give a new folder, or a file that ends in .parquet")
    answers = open_answers(out, partial=partial)
    with writable(to), partial_folder(to.with_name(f"{to.name}.merging")) as scratch:
        double = _mark_double(answers, scratch, progress)
        kept = _kept(answers, double, progress)
        if to.suffix == ".parquet":
            tallies = [_write_file(to, answers, kept, answers.rows)]
            files = [to]
        else:
            files, tallies = _write_folder(to, answers, kept, file_rows)
    refused = sum((tally.refused for tally in tallies), Counter[str]())
    return Merged(
        rows=(rows := sum(tally.rows for tally in tallies)),
        double=answers.rows - rows,
        refused=dict(sorted(refused.items())),
        images=answers.images,
        missing=answers.missing,
        files=len(files),
        bytes=sum(file.stat().st_size for file in files),
        seconds=round(time.monotonic() - started, 3),
    )


def _mark_double(answers: Answers, scratch: Path, progress: Progress) -> NDArray[np.uint8]:
    """uint8 [rows], in a file: 1 if a row is not to be kept."""
    partitions = Partitions(scratch / "keys", _DTYPE, answers.rows)
    if not answers.rows:
        return np.zeros(0, np.uint8)
    double: NDArray[np.uint8] = np.memmap(scratch / "double", np.uint8, "w+", shape=(answers.rows,))
    groups: dict[object, int] = {}
    at = 0
    for file in answers.files:
        for batch in read_rows(file, [*COLUMNS, *_BY]):
            records = keys(batch, at, _DTYPE)
            together = pc.binary_join_element_wise(*(batch.column(name) for name in _BY), _SEPARATOR)
            records["group"] = numbers(together, groups)
            records["row"][np.asarray(pc.equal(batch.column("decision"), REFUSED))] += REFUSED_LAST
            _mark(double, partitions.add(records))
            at += batch.num_rows
            progress("sorting", at, answers.rows)
    _mark(double, partitions.flush())
    for records in partitions:
        _mark(double, first_of_each(records)[1])
    return double


def _mark(double: NDArray[np.uint8], records: NDArray[np.void]) -> None:
    double[records["row"] & (REFUSED_LAST - 1)] = 1


def _kept(answers: Answers, double: NDArray[np.uint8], progress: Progress) -> Iterator[pa.RecordBatch]:
    """The rows that are to be kept, in order; no batch is empty."""
    at = 0
    for file in answers.files:
        for batch in read_rows(file):
            own = np.asarray(double[at : at + batch.num_rows])
            at += batch.num_rows
            progress("writing", at, answers.rows)
            if own.any():
                batch = batch.filter(pa.array(own == 0))
            if batch.num_rows:
                yield batch


class _Tally:
    """Counts what is written to a file."""

    def __init__(self) -> None:
        self.rows = self.images = 0
        self.refused: Counter[str] = Counter()
        self._last: str | None = None  # path

    def add(self, batch: pa.RecordBatch) -> None:
        paths = batch.column("path")  # rows of one image follow one another
        self.images += 1 + pc.sum(pc.not_equal(paths[1:], paths[:-1])).as_py() if len(paths) > 1 else 1
        self.images -= paths[0].as_py() == self._last
        self._last = paths[-1].as_py()
        self.rows += len(paths)
        for code in pc.value_counts(batch.column("code").drop_null()):
            self.refused[code["values"].as_py()] += code["counts"].as_py()


def _write_file(to: Path, answers: Answers, kept: Iterable[pa.RecordBatch], most: int) -> _Tally:
    """Writes rows until there are `most` of them, or a few more."""
    tally = _Tally()
    with RowFile(to, answers.labels, answers.plan) as file:
        held: list[pa.RecordBatch] = []
        waiting = 0
        for batch in kept:
            tally.add(batch)
            held.append(batch)
            waiting += batch.num_rows
            if waiting >= GROUP_ROWS:
                file.write(pa.Table.from_batches(held))
                held, waiting = [], 0
            if tally.rows >= most:
                break
        if held:
            file.write(pa.Table.from_batches(held))
        file.publish(images=tally.images, refused=dict(sorted(tally.refused.items())))
    return tally


def _write_folder(
    to: Path, answers: Answers, kept: Iterator[pa.RecordBatch], file_rows: int
) -> tuple[list[Path], list[_Tally]]:
    names: list[str] = []
    tallies: list[_Tally] = []
    with partial_folder(to) as folder:
        while (first := next(kept, None)) is not None or not names:
            names.append(f"part-{len(names):06d}.parquet")
            tallies.append(_write_file(folder / names[-1], answers, chain([first] if first else [], kept), file_rows))
        if to.exists():
            to.rmdir()  # it is empty
        folder.rename(to)
        sync_directory(to.parent)
    return [to / name for name in names], tallies
