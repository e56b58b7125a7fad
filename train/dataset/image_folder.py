"""A folder of images -> labelled, split, decoded data; what would spoil a result is refused by name.

Images are read as a device reads them, so a model is trained and judged on exactly what it will be shown.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import DataError, printable
from limiar.edge_app.image.resize import tensor_sha256
from limiar.edge_app.text import counted
from limiar.train.dataset.dicom_facts import DicomFacts
from limiar.train.dataset.dicom_groups import grouped
from limiar.train.dataset.image_store import ImageStore, InMemory, Keep, Shelf
from limiar.train.dataset.labels import one_class
from limiar.train.dataset.listed import Listed
from limiar.train.dataset.listing import list_images
from limiar.train.dataset.reading import Decoded, Item, RefusedImage, read_all
from limiar.train.dataset.splits import Shares, given_or_drawn
from limiar.train.record.run_folder import SPLIT_NAMES, SplitRow

_NAMED = 5  # bad images that are named in a message; the others are counted


@dataclass(frozen=True)
class DataSet:
    """Images with their rows; row k belongs to image k."""

    rows: tuple[SplitRow, ...]
    drawn: bool  # whether we drew the test part
    labels: tuple[str, ...]  # in the order of the model's outputs
    images: ImageStore  # [N]
    truth: NDArray[np.int64]  # [N], index into labels

    def part(self, name: str) -> NDArray[np.int64]:
        """Row numbers of "train", "val" or "test"."""
        return np.array([k for k, row in enumerate(self.rows) if row.part == name], dtype=np.int64)


@dataclass(frozen=True)
class Read:
    """What images are, one by one."""

    files: list[str]  # sha256 of each file
    tensors: list[str]  # sha256 of each model input
    dicom: list[DicomFacts | None]


def load(
    folder: Path,
    table: Path | None,
    spec: InputSpec,
    shares: Shares,
    tick: Callable[[int, int], None],
    keep: Keep = InMemory,
) -> tuple[DataSet, tuple[str, ...]]:
    """Reads, checks and splits a data folder; returns it with notes for the person.

    table: a CSV (see list_table), else the folder's own manifest.csv if it has the columns, else suffixes or class folders.
    tick: told (images read, images in all). keep: makes the store that they are put in. Raises DataError.
    """
    listing = list_images(folder, table)
    labels = tuple(sorted({image.label for image in listing.images}))
    if len(labels) < 2:
        found = one_class(folder, [image.file for image in listing.images], labels[0])
        raise DataError("E-DATA-ONE-CLASS", f"{printable(str(folder))}: {found}")
    with keep(len(listing.images), spec) as store:
        read = read_images(folder, listing.images, spec, store, tick)
    _check_labels(listing.images, read.tensors)
    images, grouping = grouped(listing.images, read.dicom)
    splits, told = given_or_drawn(images, read.tensors, shares)
    rows = tuple(
        SplitRow(file=image.file, sha256=digest, label=image.label, split=split, group=image.group)
        for image, digest, split in zip(images, read.files, splits, strict=True)
    )
    by_header = {new.group for new, old in zip(images, listing.images, strict=True) if new.group != old.group}
    _check_leaks(rows, read.tensors, by_header)
    _check_counts(rows, labels, shares.minimum, by_header)
    truth = np.array([labels.index(row.label) for row in rows], dtype=np.int64)
    drawn = not any(image.split == "test" for image in listing.images)
    return DataSet(rows, drawn, labels, store, truth), (*listing.notes, *grouping, *told)


def default_positive(labels: Sequence[str]) -> str | None:
    """The positive one of two labels: "pos", else the second in name order. None for more than two."""
    if len(labels) > 2:
        return None
    return "pos" if "pos" in labels else labels[1]


def read_images(
    folder: Path, images: Sequence[Listed], spec: InputSpec, shelf: Shelf, tick: Callable[[int, int], None]
) -> Read:
    """Every image is tried before those that failed are named. Raises DataError."""
    files, tensors = [""] * len(images), [""] * len(images)
    dicom: list[DicomFacts | None] = [None] * len(images)
    faults: dict[int, str] = {}
    items = [
        Item(k, os.fsencode(folder / image.file), os.fsencode(image.file), shelf.digest(k)) for k, image in enumerate(images)
    ]
    for done, outcome in enumerate(read_all(items, spec), start=1):
        row = outcome.row
        if isinstance(outcome, RefusedImage):
            faults[row] = f"{printable(images[row].file)} ({outcome.error})"
        else:
            files[row], tensors[row] = outcome.sha256.hex(), tensor_sha256(_shelved(shelf, outcome, spec))
            dicom[row] = outcome.dicom
        tick(done, len(images))
    refused = [fault for _, fault in sorted(faults.items())]
    if refused:
        more = f" and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
        met = f"{len(refused)} of {len(images)} images cannot be used: {', '.join(refused[:_NAMED])}{more}"
        raise DataError("E-DATA-IMAGE", f"{met}: replace or remove them")
    return Read(files, tensors, dicom)


def _shelved(shelf: Shelf, read: Decoded, spec: InputSpec) -> Pixels:
    """The image's input [H, W, C], kept."""
    if read.tensor is None:
        kept: Pixels = shelf.take(np.array([read.row]))[0]
        return kept
    tensor = np.frombuffer(read.tensor, np.uint8).reshape(spec.height, spec.width, spec.channels)
    shelf.put(read.row, read.sha256, tensor)
    return tensor


def _check_labels(images: Sequence[Listed], tensors: Sequence[str]) -> None:
    """Refuses the same image under two labels."""
    first: dict[str, Listed] = {}
    for image, tensor in zip(images, tensors, strict=True):
        other = first.setdefault(tensor, image)
        if other.label != image.label:
            met = f"{printable(other.file)} ({printable(other.label)}) and {printable(image.file)} ({printable(image.label)})"
            raise DataError("E-DATA-BOTH-LABELS", f"{met} are the same image: keep the right one")


def _check_leaks(rows: Sequence[SplitRow], tensors: Sequence[str], by_header: Set[str]) -> None:
    """Refuses an image or a group in two parts: a test that has seen the answers proves nothing.

    by_header: the groups that DICOM headers give.
    """
    images: dict[str, SplitRow] = {}
    groups: dict[str, SplitRow] = {}
    for row, tensor in zip(rows, tensors, strict=True):
        twin = images.setdefault(tensor, row)
        if twin.part != row.part:
            met = f"{printable(twin.file)} ({twin.split}) and {printable(row.file)} ({row.split}) are the same image"
            raise DataError("E-DATA-DUPLICATE", f"{met}: keep it in one split")
        mate = groups.setdefault(row.group, row) if row.group else row
        if mate.part != row.part:
            where = f"{mate.split} ({printable(mate.file)}) and {row.split} ({printable(row.file)})"
            met = f"group {printable(row.group)} is in {where}"
            if row.group in by_header:
                met = f"{met}, which are of one DICOM study or patient"
                raise DataError("E-DATA-GROUP", f"{met}: keep them in one split, or give groups of your own with --csv")
            raise DataError("E-DATA-GROUP", f"{met}: keep a group in one split")


def _check_counts(rows: Sequence[SplitRow], labels: Sequence[str], minimum: int, by_header: Set[str]) -> None:
    counts = Counter((row.part, row.label) for row in rows)
    for part in SPLIT_NAMES:
        for label in labels:
            if counts[part, label] < minimum:
                met = f"{part} has {counted(counts[part, label], 'image')} of {printable(label)}, at least {minimum} are needed"
                lower = ", or lower it with --set min_per_class=N" if minimum > 1 else ""
                if by_header:
                    met = f"{met}; DICOM headers put the images into {counted(len(by_header), 'group')} that stay together"
                    lower = f"{lower}, or give groups of your own with --csv"
                raise DataError("E-DATA-FEW", f"{met}: add images{lower}")
