"""The images that a bundle is scored on, with what is known of each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from limiar.convert.evaluate.answering import Answers
from limiar.edge_app.errors import DataError, printable
from limiar.edge_app.text import counted
from limiar.train.dataset.csv_table import columns, read_table
from limiar.train.dataset.listed import Listed, Listing
from limiar.train.dataset.listing import MANIFEST, list_images, walk_images

ALL = "all"  # in place of a split's name
GROUPS_LIMIT = 200  # values of a column, each with figures of its own


class Labelled(msgspec.Struct, frozen=True):
    """The chosen images."""

    images: tuple[Listed, ...]  # [N], sorted by file; files, until `by_frame` has made images of them
    frames: tuple[int | None, ...]  # [N], from 1, of a file with several; None: it has one
    split: str  # "train", "val", "test" or ALL
    values: tuple[str, ...] | None  # [N], of the column that they are compared by
    notes: tuple[str, ...]  # for a person

    @property
    def pictures(self) -> list[tuple[str, int | None]]:
        """[N], file and frame."""
        return [(image.file, frame) for image, frame in zip(self.images, self.frames, strict=True)]


class Positions(msgspec.Struct, frozen=True):
    """Which files have marked positions."""

    pictures: frozenset[tuple[str, int | None]]  # with a mark that counts: file, relative to the data folder, and frame
    named: frozenset[tuple[str, int | None]]  # with a mark of any kind
    sought: str  # the label that is marked
    where: str  # the table, printable

    def label(self, picture: tuple[str, int | None], other: str) -> str:
        """The sought label if a picture has a mark, otherwise the other one."""
        return self.sought if picture in self.pictures else other

    @property
    def files(self) -> frozenset[str]:
        """Those with a mark that counts in any of their pictures."""
        return frozenset(file for file, _ in self.pictures)


def labelled(
    folder: Path,
    table: Path | None,
    split: str | None,
    group_by: str | None,
    labels: Sequence[str],
    marked: Positions | None = None,
) -> Labelled:
    """The images of a data folder, listed as for training. labels: the bundle's.

    split: None is the test images if the data say which they are, otherwise all. marked: without a table, and with two labels,
    the images are all below the folder, and these have the sought label. Raises DataError.
    """
    by_marks = marked is not None and table is None and len(labels) == 2
    listing = _by_marks(folder, labels, marked) if marked and by_marks else list_images(folder, table)
    if marked:
        _check_marked(listing.images, marked)
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
    return Labelled(tuple(images), (None,) * len(images), chosen, values, tuple(notes))


def by_frame(chosen: Labelled, answered: Answers, labels: Sequence[str], marked: Positions) -> Labelled:
    """The frames in place of the files: those with a mark have the sought label, the others the other one.

    Raises DataError: a mark is in no such frame, of a file that was not refused.
    """
    of, frames = answered.of, answered.frames
    other = next(label for label in labels if label != marked.sought)
    pictures = [(chosen.images[k].file, frame) for k, frame in zip(of, frames, strict=True)]
    refused = {pictures[row][0] for row in answered.refused if frames[row] is None}
    there = {file for file, _ in pictures} - refused
    if absent := sorted((file, frame or 0) for file, frame in marked.named - set(pictures) if file in there):
        file, frame = absent[0]
        has = f"no frame {frame}" if frame else "several frames"
        met = f"{printable(file)} has {has}, and {marked.where} a mark in it"
        raise DataError("E-EVALUATE-MARKS", f"{met}: give the frame, from 1, of each mark in a file with several, and no other")
    return msgspec.structs.replace(
        chosen,
        images=tuple(
            chosen.images[k] if picture[0] in refused else replace(chosen.images[k], label=marked.label(picture, other))
            for k, picture in zip(of, pictures, strict=True)
        ),
        frames=tuple(frames),
        values=chosen.values and tuple(chosen.values[k] for k in of),
    )


def _by_marks(folder: Path, labels: Sequence[str], marked: Positions) -> Listing:
    files, notes = walk_images(folder)
    other = next(label for label in labels if label != marked.sought)
    images = (Listed(file, marked.sought if file in marked.files else other) for file in files)
    return Listing(tuple(images), notes)


def _check_marked(images: Sequence[Listed], marked: Positions) -> None:
    """Raises DataError: a mark is in no listed image, or a label and the marks contradict each other."""
    of_file = {image.file: image for image in images}
    named = {file for file, _ in marked.named}
    if absent := sorted(named - set(of_file)):
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        met = f"{marked.where} has marks in {printable(absent[0])}{more}, which is not among the images"
        raise DataError("E-EVALUATE-MARKS", f"{met}: give paths relative to DATA")
    for file, image in of_file.items():
        counts, at_all = file in marked.files, file in named
        if (counts and image.label != marked.sought) or (image.label == marked.sought and not at_all):
            has = "has a mark" if counts else "has no mark"
            met = f"{printable(file)} has the label {printable(image.label)}, and {has} in {marked.where}"
            raise DataError("E-EVALUATE-MARKS", f"{met}: correct one of them")


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
