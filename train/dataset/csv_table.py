"""Images that a CSV lists."""

import csv
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from limiar.edge_app.errors import DataError, printable
from limiar.edge_app.system.files import read_bounded
from limiar.edge_app.text import without_passwords
from limiar.train.dataset.labels import label_fault
from limiar.train.dataset.listed import Listed, Met, refuse
from limiar.train.record.run_folder import SPLIT_NAMES

TABLE_LIMIT = 256 << 20  # bytes: two million images


def list_table(folder: Path, table: Path, met: Met = refuse) -> tuple[Listed, ...]:
    """The images that a CSV lists: columns file and label, optionally split and group; other columns are ignored.

    `file` is relative to the data folder. A split is `val`, `test` or begins with `train`. met: as in list_images.
    Raises DataError.
    """
    where = printable(str(table))
    missing = {"file", "label"} - set(columns(table))
    if missing:
        raise DataError(
            "E-DATA-CSV",
            f"{where} has no column {' and no '.join(sorted(missing))}: name the columns in its first line",
        )
    images: dict[str, Listed] = {}
    for line, row in enumerate(read_table(table), start=2):
        image = Listed(row["file"] or "", *(sys.intern(row.get(column) or "") for column in ("label", "split", "group")))
        if fault := _line_fault(f"{where} line {line}", folder, image):
            met(fault, without_passwords(image.file))
        elif image.file in images:
            twice = f"{where} lists {printable(image.file)} more than once"
            met(DataError("E-DATA-CSV", f"{twice}: keep one line of each image"), image.file)
        else:
            images[image.file] = image
    if not images:
        raise DataError("E-DATA-EMPTY", f"{where} lists no image: add lines, or leave out --csv")
    return tuple(images.values())


def read_table(table: Path) -> Iterator[dict[str, str | None]]:
    """The lines of a CSV in UTF-8, by column; None for what a short line lacks. Raises DataError."""
    reader = csv.DictReader(io.StringIO(_text(table), newline=""))
    with _well_formed(table, reader):
        yield from reader


def columns(table: Path) -> list[str]:
    reader = csv.reader(io.StringIO(_text(table), newline=""))
    with _well_formed(table, reader):
        return next(reader, [])


@contextmanager
def _well_formed(table: Path, reader: Any) -> Iterator[None]:
    """A field may have 131,072 characters: a longer one usually means an unclosed quote."""
    try:
        yield
    except csv.Error as error:
        met = f"{printable(str(table))} line {reader.line_num}: {error}"
        raise DataError("E-DATA-CSV", f"{met}: close the quote that was opened above, or correct the line") from None


def _text(table: Path) -> str:
    try:
        return read_bounded(table, TABLE_LIMIT, follow=True).decode("utf-8-sig")
    except OSError as error:
        raise DataError("E-DATA-MISSING", f"{printable(str(table))}: {error.strerror}: check the path") from None
    except UnicodeDecodeError as error:
        met = f"{printable(str(table))}: byte {error.start} is not UTF-8"
        raise DataError("E-DATA-CSV", f"{met}: save the table as UTF-8") from None


def _line_fault(where: str, folder: Path, image: Listed) -> DataError | None:
    path = PurePosixPath(image.file)
    if not image.file or not image.label:
        return DataError("E-DATA-CSV", f"{where} has an empty file or label: fill it in")
    if without_passwords(image.file) != image.file:
        return DataError("E-DATA-CSV", f"{where}: {printable(without_passwords(image.file))} is an address: give files")
    if fault := label_fault(image.label):
        return DataError("E-DATA-LABEL", f"{where}: label {printable(image.label)!r} {fault}")
    if path.is_absolute() or ".." in path.parts or "\0" in image.file or _leaves(folder, image.file):
        met = f"{where}: {printable(image.file)} is outside {printable(str(folder))}"
        return DataError("E-DATA-OUTSIDE", f"{met}: give paths below the data folder, and files, not links")
    if image.split and image.split not in SPLIT_NAMES and not image.split.startswith("train"):
        return DataError("E-DATA-SPLIT", f"{where}: split {printable(image.split)} is not train…, val or test: change it")
    return None


def _leaves(folder: Path, file: str) -> bool:
    """Whether a link on the way leads out of the data folder. (A link as the file itself is refused when it is read.)"""
    parent = (folder / file).parent.resolve()
    return not parent.is_relative_to(folder.resolve())
