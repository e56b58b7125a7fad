"""Images that people reviewed, joined to those of a RUN; its validation and test images stay as they are."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from limiar.edge_app.errors import DataError, TrainError, printable
from limiar.edge_app.text import counted
from limiar.train.dataset.csv_table import read_table
from limiar.train.dataset.dicom_groups import grouped
from limiar.train.dataset.image_folder import DataSet, read_images
from limiar.train.dataset.image_store import Chosen, Keep
from limiar.train.dataset.listed import Listed
from limiar.train.dataset.listing import list_images
from limiar.train.record.run_folder import Lineage, Run, SplitRow, read_run, read_splits

SPLIT = "train_reviewed"  # of every image that was added: a training split of its own
_NAMED = 5  # files that are named in a note; the others are counted


@dataclass(frozen=True)
class Parent:
    """The RUN that is continued, and what people reviewed since."""

    folder: Path
    run: Run
    reviewed: Path  # a folder of images, or a CSV


@dataclass(frozen=True)
class Reviewed:
    """An image with the label that a person gave it."""

    path: Path
    label: str
    split: str = ""
    group: str = ""
    sha256: str = ""  # of its file when it was reviewed; "" if that was not recorded


def open_parent(folder: Path, reviewed: Path) -> Parent:
    """Raises RunError."""
    return Parent(folder, read_run(folder), reviewed)


def load_reviewed(
    folder: Path, parent: Parent, tick: Callable[[int, int], None], keep: Keep
) -> tuple[DataSet, Lineage, tuple[str, ...]]:
    """The RUN's images below `folder` in their splits, with what was reviewed in training; and notes for the person.

    A reviewed image with the pixels of a training image gives that one its label. A reviewed image is left out if it is in val
    or test (by its pixels, or by its group), or listed for a split other than training. Raises DataError, RunError and
    TrainError.
    """
    rows = read_splits(parent.folder, parent.run)
    reviewed, notes = list_reviewed(parent.reviewed)
    _check_labels(reviewed, parent.run.labels)
    _check_there(folder, parent, rows)
    root = folder.resolve()
    given = [Listed(row.file, row.label, row.split, row.group) for row in rows]
    given += [Listed(os.path.relpath(image.path.resolve(), root), image.label, SPLIT, image.group) for image in reviewed]
    with keep(len(given), parent.run.input) as store:
        read = read_images(folder, given, parent.run.input, store, tick)
    _check_files(rows, reviewed, read.files)
    given = list(grouped(given, read.dicom)[0])
    reviewed = tuple(replace(image, group=one.group) for image, one in zip(reviewed, given[len(rows) :], strict=True))
    settled = settle(rows, reviewed, read.tensors)
    if not settled.added and not settled.corrected:
        met = f"{printable(str(parent.reviewed))} has nothing new: {settled.text()}"
        raise TrainError(
            "E-TRAIN-ADD", f"{met}: give reviewed images that are not in the RUN, or that have another label there"
        )
    labels = parent.run.labels
    chosen = [*range(len(rows)), *(len(rows) + k for k in settled.added)]
    joined = [
        SplitRow(given[k].file, read.files[k], settled.corrected.get(k, given[k].label), given[k].split, given[k].group)
        for k in chosen
    ]
    truth = np.array([labels.index(row.label) for row in joined], dtype=np.int64)
    data = DataSet(tuple(joined), False, labels, Chosen(store, np.array(chosen, dtype=np.int64)), truth)
    lineage = Lineage(
        model_sha256=parent.run.model_sha256,
        added=len(settled.added),
        corrected=len(settled.corrected),
        left_out=len(reviewed) - len(settled.added) - settled.corrections,
    )
    told = f"{counted(len(reviewed), 'reviewed image')}: {settled.text()}"
    return data, lineage, (*notes, told, *_corrections(rows, settled))


@dataclass(frozen=True)
class Settled:
    """What is done with the reviewed images. Numbers are those of rows, or of reviewed images."""

    added: tuple[int, ...]  # reviewed images that are new
    corrected: dict[int, str]  # training row -> its label now
    corrections: int  # reviewed images that corrected one
    known: int  # in training with that label already, or reviewed twice
    held: int  # in val or test
    doubted: int  # of these, the ones that have another label there
    grouped: int  # of a group that is in val or test
    elsewhere: int  # listed for a split other than training

    def text(self) -> str:
        """One line that accounts for every image."""
        counts = {
            "new in training": len(self.added),
            "corrected the label of a training image": self.corrections,
            "known with that label": self.known,
            "left out: in val or test": self.held,
            "of these with another label there": self.doubted,
            "left out: of a group in val or test": self.grouped,
            "left out: listed for val or test": self.elsewhere,
        }
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def settle(rows: Sequence[SplitRow], reviewed: Sequence[Reviewed], tensors: Sequence[str]) -> Settled:
    """Decides for each reviewed image. tensors: of the rows, then of the reviewed images. Raises DataError: two labels."""
    of_tensor: dict[str, list[int]] = {}
    for k, tensor in enumerate(tensors[: len(rows)]):
        of_tensor.setdefault(tensor, []).append(k)
    held_groups = {row.group for row in rows if row.part != "train"} - {""}
    seen: dict[str, Reviewed] = {}
    added: list[int] = []
    corrected: dict[int, str] = {}
    counts = Counter[str]()
    for k, (image, tensor) in enumerate(zip(reviewed, tensors[len(rows) :], strict=True)):
        twin = seen.setdefault(tensor, image)
        if twin.label != image.label:
            both = " and ".join(f"{printable(str(one.path))} ({printable(one.label)})" for one in (twin, image))
            raise DataError("E-DATA-BOTH-LABELS", f"{both} are the same image: keep the right one")
        same = of_tensor.get(tensor, [])
        wrong = [row for row in same if rows[row].label != image.label]
        if any(rows[row].part != "train" for row in same):
            counts["held"] += 1
            counts["doubted"] += bool(wrong)
        elif image.group in held_groups:
            counts["grouped"] += 1
        elif image.split and not image.split.startswith("train"):
            counts["elsewhere"] += 1
        elif twin is not image or (same and not wrong):
            counts["known"] += 1
        elif wrong:
            counts["corrections"] += 1
            corrected |= dict.fromkeys(wrong, image.label)
        else:
            added.append(k)
    kinds = ("corrections", "known", "held", "doubted", "grouped", "elsewhere")
    return Settled(tuple(added), corrected, **{kind: counts[kind] for kind in kinds})


def list_reviewed(place: Path) -> tuple[tuple[Reviewed, ...], tuple[str, ...]]:
    """A folder in any form that `limiar train` takes, or a CSV; with notes for the person. Raises DataError.

    Columns of a CSV: label, and `file` (relative to the CSV) or `path` as `limiar scan --csv` writes it (relative to the
    current folder); optionally split, group and the sha256 of the file. A line without a label is skipped.
    """
    if place.is_dir():
        listing = list_images(place, None)
        images = tuple(Reviewed(place / image.file, image.label, image.split, image.group) for image in listing.images)
        return images, listing.notes
    lines = list(read_table(place))
    where = printable(str(place))
    named = set(lines[0]) if lines else set()
    if lines and ("label" not in named or not {"file", "path"} & named):
        raise DataError("E-DATA-CSV", f"{where} has no column label, or neither file nor path: name them in its first line")
    found = [_line(place, line) for line in lines if line["label"]]
    if not found:
        raise DataError("E-DATA-EMPTY", f"{where} lists no image with a label: add lines")
    twice = [path for path, count in Counter(image.path for image in found).items() if count > 1]
    if twice:
        raise DataError("E-DATA-CSV", f"{where} lists {printable(str(twice[0]))} more than once: keep one line of each image")
    passed = len(lines) - len(found)
    skipped = f"{where}: {counted(passed, 'line')} without a label skipped"
    return tuple(found), (skipped,) if passed else ()


def _line(table: Path, line: dict[str, str | None]) -> Reviewed:
    def cell(name: str) -> str:
        text = line.get(name) or ""
        # scan keeps a spreadsheet from taking a cell for a formula (limiar.edge_app.text.for_csv)
        return text[1:] if text[:1] == "'" and text[1:2] in ("=", "+", "-", "@", "\t", "\r") else text

    path = table.parent / cell("file") if cell("file") else Path(cell("path"))
    if not (cell("file") or cell("path")) or "\0" in str(path):
        raise DataError("E-DATA-CSV", f"{printable(str(table))} has a line with a label and no file: fill it in")
    return Reviewed(path, cell("label"), cell("split"), cell("group"), cell("sha256"))


def _check_labels(reviewed: Sequence[Reviewed], labels: tuple[str, ...]) -> None:
    for image in reviewed:
        if image.label not in labels:
            known = printable(", ".join(labels[:8]))
            met = f"{printable(str(image.path))} is labelled {printable(image.label)}, but the RUN has {known}"
            raise TrainError("E-TRAIN-ADD", f"{met}: give it one of these labels, or train a new model")


def _check_there(folder: Path, parent: Parent, rows: Sequence[SplitRow]) -> None:
    """Before any image is read: if DATA is not the RUN's folder, all of them are missing."""
    gone = [row.file for row in rows if not os.path.lexists(folder / row.file)]
    if gone:
        met = f"{len(gone)} of the {len(rows)} images of {printable(str(parent.folder))} are not in {printable(str(folder))}"
        cure = "give the folder with the RUN's images as DATA"
        raise TrainError("E-TRAIN-FROM", f"{met}, for instance {printable(gone[0])}: {cure}")


def _check_files(rows: Sequence[SplitRow], reviewed: Sequence[Reviewed], files: Sequence[str]) -> None:
    """Each image is the one that the RUN, or the person, saw."""
    for row, found in zip(rows, files, strict=False):
        if row.sha256 != found:
            met = f"{printable(row.file)} has sha256 {found[:12]}, the RUN's splits.csv says {row.sha256[:12]}"
            raise TrainError("E-TRAIN-FROM", f"{met}: give the folder with the RUN's images as DATA")
    for image, found in zip(reviewed, files[len(rows) :], strict=True):
        if image.sha256 and image.sha256 != found:
            met = f"{printable(str(image.path))} has sha256 {found[:12]}, but was reviewed as {image.sha256[:12]}"
            raise TrainError("E-TRAIN-ADD", f"{met}: scan and review it again, or leave it out")


def _corrections(rows: Sequence[SplitRow], settled: Settled) -> list[str]:
    notes = [
        f"corrected: {printable(rows[row].file)}, {printable(rows[row].label)} -> {printable(label)}"
        for row, label in list(settled.corrected.items())[:_NAMED]
    ]
    more = len(settled.corrected) - len(notes)
    return [*notes, *([f"corrected: {more} more"] if more else [])]
