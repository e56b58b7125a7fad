"""The images that a bundle is scored on, with what is known of each."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from limiar.edge_app.errors import DataError, printable
from limiar.edge_app.text import counted
from limiar.train.dataset.csv_table import columns, read_table
from limiar.train.dataset.listed import Listed
from limiar.train.dataset.listing import MANIFEST, list_images

ALL = "all"  # in place of a split's name
GROUPS_LIMIT = 200  # values of a column, each with figures of its own


class Labelled(msgspec.Struct, frozen=True):
    """The chosen images."""

    images: tuple[Listed, ...]  # sorted by file
    split: str  # "train", "val", "test" or ALL
    values: tuple[str, ...] | None  # [N], of the column that they are compared by
    notes: tuple[str, ...]  # for a person


def labelled(folder: Path, table: Path | None, split: str | None, group_by: str | None, labels: Sequence[str]) -> Labelled:
    """The images of a data folder, listed as for training. labels: the bundle's.

    split: None is the test images if the data say which they are, otherwise all. Raises DataError.
    """
    listing = list_images(folder, table)
    given = {part_of(image) for image in listing.images}
    chosen = split or ("test" if "test" in given else ALL)
    images = [image for image in listing.images if chosen in (ALL, part_of(image))]
    if not images:
        there = ", ".join(sorted(given - {""})) or "none"
        met = f"{printable(str(folder))} has no image of the split {chosen} (splits given there: {there})"
        raise DataError("E-EVALUATE-SPLIT", f"{met}: choose another --split")
    _check_labels(images, labels)
    images.sort(key=lambda image: image.file)
    values = None if group_by is None else _values(images, table or folder / MANIFEST, group_by)
    notes = list(listing.notes)
    if split is None and chosen == "test":
        notes.append(f"only the {counted(len(images), 'image')} of the split test count; --split {ALL} takes all")
    return Labelled(tuple(images), chosen, values, tuple(notes))


def part_of(image: Listed) -> str:
    """The split: "train", "val" or "test"; "" if none is given."""
    return "train" if image.split.startswith("train") else image.split


def _check_labels(images: Sequence[Listed], labels: Sequence[str]) -> None:
    """Refuses labels that the bundle does not have: its answers could only be wrong."""
    counts = Counter(image.label for image in images)
    foreign = [label for label in counts if label not in labels]
    if not foreign:
        return
    named = ", ".join(f"{printable(label)} ({counts[label]})" for label in sorted(foreign)[:5])
    more = f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""
    met = f"the data have labels that the bundle lacks: {named}{more}; the bundle has {', '.join(map(printable, labels[:10]))}"
    raise DataError("E-EVALUATE-LABEL", f"{met}: name the folders as the bundle's labels, or give --csv with them")


def _values(images: Sequence[Listed], table: Path, column: str) -> tuple[str, ...]:
    """What a column of the table says of each image."""
    where = printable(str(table))
    there = columns(table) if table.exists() else []
    if column not in there or column == "file":
        met = f"{where} has no column {printable(column)} to compare by"
        have = f"it has {', '.join(map(printable, there))}" if there else "it does not exist"
        raise DataError("E-EVALUATE-COLUMN", f"{met} ({have}): give --csv with that column, or another --group-by")
    of_file = {row["file"]: row[column] or "" for row in read_table(table)}
    values = tuple(of_file.get(image.file, "") for image in images)
    if (count := len(set(values))) > GROUPS_LIMIT:
        met = f"{where}: the column {printable(column)} has {count} values, at most {GROUPS_LIMIT} can be compared"
        raise DataError("E-EVALUATE-COLUMN", f"{met}: give a column with fewer")
    return values
