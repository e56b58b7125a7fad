"""Answers to be merged or compared: of an archive, chunk by chunk, or of what `limiar archive merge` wrote."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from limiar.edge_app.archive.columns import damaged, open_rows, read_footer
from limiar.edge_app.archive.plan import PLAN, Archive, Chunk, open_archive
from limiar.edge_app.errors import ArchiveError, printable
from limiar.edge_app.text import counted


class Answers:
    """Rows in files, in the order of the plan; row N is the N-th of all of them, from 0."""

    def __init__(self, path: Path, archive: Archive | None, files: Sequence[tuple[Path, Chunk | None]], missing: int) -> None:
        """files: each with the chunk that it must be of, if any. Raises ArchiveError E-CHUNK-DAMAGED."""
        self.path = path
        self.archive = archive  # None: they were merged
        self.files = [file for file, _ in files]
        self.missing = missing  # chunks that are not done
        self.labels: tuple[str, ...] = archive.plan.labels if archive else ()  # the order of probabilities
        self.plan = archive.sha256 if archive else ""
        self.images = 0  # paths that were tried
        counts = []
        for place, (file, chunk) in enumerate(files):
            footer = read_footer(file, chunk)
            if archive is None and place == 0:
                self.labels, self.plan = footer.labels, footer.plan
            if footer.labels != self.labels:
                raise damaged(file, ValueError("it has the labels of another bundle"))
            self.images += footer.images
            counts.append(footer.rows)
        self._starts: NDArray[np.int64] = np.cumsum([0, *counts])  # of each file; the last one is the end

    @property
    def rows(self) -> int:
        """Answers and refusals, in all."""
        return int(self._starts[-1])

    def pick(self, numbers: Sequence[int], columns: Sequence[str]) -> dict[int, dict[str, object]]:
        """A few rows by number: number -> column -> value. Raises ArchiveError E-CHUNK-DAMAGED."""
        found: dict[int, dict[str, object]] = {}
        wanted = np.unique(np.asarray(numbers, np.int64))
        homes = np.searchsorted(self._starts, wanted, "right") - 1
        for home in np.unique(homes):
            rows = wanted[homes == home]
            try:
                found |= _picked(self.files[home], rows - self._starts[home], rows, columns)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise damaged(self.files[home], error) from None
        return found


def _picked(
    path: Path, places: NDArray[np.int64], numbers: NDArray[np.int64], columns: Sequence[str]
) -> dict[int, dict[str, object]]:
    found: dict[int, dict[str, object]] = {}
    with open_rows(path) as file:
        start = 0
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            inside = (places >= start) & (places < end)
            if inside.any():
                table = file.read_row_group(group, columns=list(columns), use_threads=False)
                table.validate(full=True)
                if table.num_rows != end - start:
                    raise ValueError("rows are missing")
                rows = table.take(pa.array(places[inside] - start)).to_pylist()
                found.update(zip(numbers[inside].tolist(), rows, strict=True))
            start = end
    return found


def open_answers(path: Path | str, *, partial: bool = False) -> Answers:
    """The answers of an archive, of a merged file, or of a folder of merged files.

    Raises ArchiveError: E-MERGE-MISSING (chunks are not done, unless `partial`), E-MERGE-SOURCE (there are no answers here),
    E-CHUNK-DAMAGED, and what open_archive raises.
    """
    path = Path(path)
    if path.is_file():
        return Answers(path, None, [(path, None)], 0)
    if (path / PLAN).exists():
        return _of_archive(path, open_archive(path), partial)
    files = sorted(path.glob("*.parquet")) if path.is_dir() else []
    if not files:
        met = f"{printable(str(path))} has neither a plan nor answers"
        raise ArchiveError("E-MERGE-SOURCE", f"{met}: give an archive, or what `limiar archive merge` wrote")
    return Answers(path, None, [(file, None) for file in files], 0)


def _of_archive(path: Path, archive: Archive, partial: bool) -> Answers:
    missing = {chunk.number for chunk in archive.missing()}
    if missing and not partial:
        met = f"{len(missing)} of {counted(archive.plan.chunks, 'chunk')} of {printable(str(path))} "
        met += "is not done" if len(missing) == 1 else "are not done"
        raise ArchiveError("E-MERGE-MISSING", f"{met}: run `limiar archive run` again, or give --partial to do without")
    return Answers(path, archive, [*_done(archive, missing)], len(missing))


def _done(archive: Archive, missing: set[int]) -> Iterator[tuple[Path, Chunk]]:
    for chunk in archive.chunks():
        if chunk.number not in missing:
            yield archive.done_path(chunk), chunk
