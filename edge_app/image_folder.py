"""A folder of images -> labelled, split, decoded data; whatever would spoil a result is refused by name.

Images are read as a device reads them, so that a model is trained, and judged, on exactly what it will be shown.
"""

import csv
import hashlib
import io
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.bundle import InputSpec
from edge_app.containers import IMAGE_EXTENSIONS
from edge_app.errors import DataError, ImageError, printable
from edge_app.image import decode, read_file
from edge_app.image_store import ImageStore, InMemory, Keep, Shelf
from edge_app.preprocess import check_assessable, model_input, tensor_sha256
from edge_app.run_folder import SPLIT_NAMES, SplitRow

EXTENSIONS = tuple(sorted(IMAGE_EXTENSIONS))
SUFFIXES = ("neg", "pos")  # the course's `path[-7:-4]`: a name ends _neg or _pos before its extension
MANIFEST = "manifest.csv"
_NAMED = 5  # so many bad images are named in a message, the others counted


@dataclass(frozen=True, slots=True)
class Listed:
    """An image that a folder or CSV names, not yet read."""

    file: str  # relative to the data folder, forward slashes, os.fsdecode'd
    label: str
    split: str = ""  # as given; "" where the split is ours to make
    group: str = ""


@dataclass(frozen=True)
class Listing:
    """All images of a data folder, with what a person should be told about how they were found."""

    images: tuple[Listed, ...]
    notes: tuple[str, ...]


Met = Callable[[DataError, str], None]  # told what spoils a folder, and the file or folder concerned


def _refuse(error: DataError, file: str) -> None:
    raise error


@dataclass(frozen=True)
class DataSet:
    """Images with their rows; row k belongs to image k."""

    rows: tuple[SplitRow, ...]
    drawn: bool  # whether the test part is ours, not given
    labels: tuple[str, ...]  # in the order of the model's outputs
    images: ImageStore  # [N]
    truth: NDArray[np.int64]  # [N], index into labels

    def part(self, name: str) -> NDArray[np.int64]:
        """Row numbers of "train", "val" or "test"."""
        return np.array([k for k, row in enumerate(self.rows) if row.part == name], dtype=np.int64)


@dataclass(frozen=True)
class Shares:
    """How images without a given split are divided, and how few of a class are too few."""

    seed: int
    test: float = 0.25  # of all images: the course's 75/25
    val: float = 0.15  # of all images, taken from the other 75 %
    minimum: int = 8  # images of each class in each part; fewer say nothing about a class


def load(
    folder: Path,
    table: Path | None,
    spec: InputSpec,
    shares: Shares,
    tick: Callable[[int, int], None],
    keep: Keep = InMemory,
) -> tuple[DataSet, tuple[str, ...]]:
    """Reads, checks and splits a data folder; returns it with notes for the person.

    table: a CSV (see list_table), else the folder's own manifest.csv where it has the columns, else suffixes or class folders.
    tick: told (images read, images in all). keep: makes the store that they are put in. Raises DataError.
    """
    listing = list_images(folder, table)
    labels = tuple(sorted({image.label for image in listing.images}))
    if len(labels) < 2:
        found = f"all {len(listing.images)} images have the label {printable(labels[0])}"
        raise DataError("E-DATA-ONE-CLASS", f"{printable(str(folder))}: {found}: add images of another class")
    with keep(len(listing.images), spec) as store:
        files, tensors = read_images(folder, listing.images, spec, store, tick)
    _check_labels(listing.images, tensors)
    splits = given_or_drawn(listing.images, tensors, shares)
    rows = tuple(
        SplitRow(file=image.file, sha256=digest, label=image.label, split=split, group=image.group)
        for image, digest, split in zip(listing.images, files, splits, strict=True)
    )
    _check_leaks(rows, tensors)
    _check_counts(rows, labels, shares.minimum)
    truth = np.array([labels.index(row.label) for row in rows], dtype=np.int64)
    drawn = not any(image.split for image in listing.images)
    return DataSet(rows, drawn, labels, store, truth), listing.notes


def default_positive(labels: Sequence[str]) -> str | None:
    """Of two labels the one that sensitivity counts: "pos", else the second in name order. None of more than two."""
    if len(labels) > 2:
        return None
    return "pos" if "pos" in labels else labels[1]


def list_images(folder: Path, table: Path | None, met: Met = _refuse) -> Listing:
    """Finds the images of a data folder and their labels. Raises DataError.

    met: where it returns, what it was told of is left out and the search goes on.
    """
    if not folder.is_dir():
        raise DataError("E-DATA-MISSING", f"{printable(str(folder))} is not a folder: give the folder that holds the images")
    if table is not None:
        return Listing(list_table(folder, table, met), _names_note(()))
    own = folder / MANIFEST
    if own.is_file() and {"file", "label", "split"} <= set(_columns(own)):
        note = f"labels and splits come from {printable(str(own))}; give --csv FILE for others"
        images = list_table(folder, own, met)
        return Listing(images, (note, *_names_note(images)))
    files = _walk(folder, met)
    if not files:
        raise DataError(
            "E-DATA-EMPTY", f"{printable(str(folder))} holds no image ({' '.join(EXTENSIONS)}): give another folder"
        )
    images = _labelled(folder, files, met)
    return Listing(images, _names_note(images))


def list_table(folder: Path, table: Path, met: Met = _refuse) -> tuple[Listed, ...]:
    """The images that a CSV lists: columns file and label, and where given split and group; others are passed over.

    `file` is relative to the data folder. A split is `val`, `test` or begins with `train`. met: as in list_images.
    Raises DataError.
    """
    where = printable(str(table))
    missing = {"file", "label"} - set(_columns(table))
    if missing:
        raise DataError(
            "E-DATA-CSV",
            f"{where} has no column {' and no '.join(sorted(missing))}: name the columns in its first line",
        )
    images: dict[str, Listed] = {}
    for line, row in enumerate(read_table(table), start=2):
        image = Listed(row["file"] or "", *(sys.intern(row.get(column) or "") for column in ("label", "split", "group")))
        if fault := _line_fault(f"{where} line {line}", folder, image):
            met(fault, image.file)
        elif image.file in images:
            twice = f"{where} lists {printable(image.file)} more than once"
            met(DataError("E-DATA-CSV", f"{twice}: keep one line of each image"), image.file)
        else:
            images[image.file] = image
    if not images:
        raise DataError("E-DATA-EMPTY", f"{where} lists no image: add lines, or leave --csv out")
    return tuple(images.values())


def read_table(table: Path) -> Iterator[dict[str, str | None]]:
    """The lines of a CSV in UTF-8 by column; one that is short has None. Raises DataError."""
    reader = csv.DictReader(io.StringIO(_text(table), newline=""))
    with _well_formed(table, reader):
        yield from reader


def _columns(table: Path) -> list[str]:
    reader = csv.reader(io.StringIO(_text(table), newline=""))
    with _well_formed(table, reader):
        return next(reader, [])


@contextmanager
def _well_formed(table: Path, reader: Any) -> Iterator[None]:
    """A field may have 131,072 characters: one that has more is mostly a quote that nobody closed."""
    try:
        yield
    except csv.Error as error:
        met = f"{printable(str(table))} line {reader.line_num}: {error}"
        raise DataError("E-DATA-CSV", f"{met}: close the quote that was opened above, or mend the line") from None


def _text(table: Path) -> str:
    try:
        return table.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError("E-DATA-MISSING", f"{printable(str(table))}: {error.strerror}: check the path") from None
    except UnicodeDecodeError as error:
        met = f"{printable(str(table))}: byte {error.start} is not UTF-8"
        raise DataError("E-DATA-CSV", f"{met}: save the table as UTF-8") from None


def _line_fault(where: str, folder: Path, image: Listed) -> DataError | None:
    path = PurePosixPath(image.file)
    if not image.file or not image.label:
        return DataError("E-DATA-CSV", f"{where} has an empty file or label: fill it in")
    if path.is_absolute() or ".." in path.parts or "\0" in image.file or _leaves(folder, image.file):
        met = f"{where}: {printable(image.file)} leads out of {printable(str(folder))}"
        return DataError("E-DATA-OUTSIDE", f"{met}: give paths below the data folder, and files, not links")
    if image.split and image.split not in SPLIT_NAMES and not image.split.startswith("train"):
        return DataError("E-DATA-SPLIT", f"{where}: split {printable(image.split)} is none of train…, val, test: change it")
    return None


def _leaves(folder: Path, file: str) -> bool:
    """Whether a link on the way leads out of the data folder. (A link as the file itself is refused when it is read.)"""
    parent = (folder / file).parent.resolve()
    return not parent.is_relative_to(folder.resolve())


def _walk(folder: Path, met: Met) -> list[str]:
    """Relative names of all images below the folder, in name order. A link is refused."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(parent).relative_to(folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        for name in [*folders, *names]:
            if os.path.islink(os.path.join(parent, name)):
                leads = f"{printable(str(Path(parent, name)))} is a link and may lead out of the data folder"
                met(DataError("E-DATA-LINK", f"{leads}: put the files themselves there"), prefix + name)
                (folders if name in folders else names).remove(name)
        found += [prefix + name for name in names if name.lower().endswith(EXTENSIONS) and not name.startswith(".")]
    return sorted(found, key=os.fsencode)


def _labelled(folder: Path, files: Sequence[str], met: Met) -> tuple[Listed, ...]:
    """Labels from `…_pos.png` and `…_neg.png`, else from the class folders right below the data folder."""
    suffixes = [sys.intern(PurePosixPath(file).stem.rpartition("_")[2]) for file in files]
    named = [suffix in SUFFIXES for suffix in suffixes]
    by_name = all(named) or (any(named) and not any("/" in file for file in files))
    for file, suffix, has in zip(files, suffixes, named, strict=True):
        if "/" not in file and not (by_name and has):
            ends = "_" + " nor _".join(SUFFIXES)
            why = "not all names end so" if has else f"ends in neither {ends} (suffix {printable(suffix)[:20]!r})"
            cure = "rename it, move it into a folder named as its class, or give --csv"
            met(DataError("E-DATA-LABEL", f"{printable(file)} lies in no class folder, and {why}: {cure}"), file)
    if by_name:
        return tuple(Listed(file, suffix) for file, suffix, has in zip(files, suffixes, named, strict=True) if has)
    images = tuple(Listed(file, sys.intern(file.partition("/")[0])) for file in files if "/" in file)
    labels = {image.label for image in images}
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith(".") and child.name not in labels:
            found = f"class folder {printable(str(child))} holds no image"
            met(DataError("E-DATA-EMPTY", f"{found}: fill it or remove it"), child.name)
    return images


def _names_note(images: Iterable[Listed]) -> tuple[str, ...]:
    """File names are bytes: those that are not UTF-8 are taken, and reported."""
    odd = [image.file for image in images if not is_utf8(image.file)]
    return (f"{len(odd)} file names are not UTF-8, for instance {printable(odd[0])}",) if odd else ()


def is_utf8(name: str) -> bool:
    """Whether an os.fsdecode'd name came from bytes that are UTF-8."""
    return name.isascii() or not any("\udc80" <= character <= "\udcff" for character in name)


def read_images(
    folder: Path, images: Sequence[Listed], spec: InputSpec, shelf: Shelf, tick: Callable[[int, int], None]
) -> tuple[list[str], list[str]]:
    """The sha256 of each file and of each model input. Every image is tried before those that failed are named."""
    files, tensors, refused = [], [], []
    for k, image in enumerate(images):
        try:
            data = read_file(os.fsencode(folder / image.file))
            digest = hashlib.sha256(data)
            tensor = shelf.find(k, digest.digest())
            if tensor is None:
                picture = decode(data, image.file)
                tensor = model_input(picture, spec)[0]
                check_assessable(picture, tensor)
                shelf.put(k, digest.digest(), tensor)
        except ImageError as error:
            refused.append(f"{printable(image.file)} ({error})")
            continue
        files.append(digest.hexdigest())
        tensors.append(tensor_sha256(tensor))
        tick(k + 1, len(images))
    if refused:
        more = f" and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
        met = f"{len(refused)} of {len(images)} images cannot be used: {', '.join(refused[:_NAMED])}{more}"
        raise DataError("E-DATA-IMAGE", f"{met}: replace or remove them")
    return files, tensors


def _check_labels(images: Sequence[Listed], tensors: Sequence[str]) -> None:
    """The same image under two labels teaches nothing."""
    first: dict[str, Listed] = {}
    for image, tensor in zip(images, tensors, strict=True):
        other = first.setdefault(tensor, image)
        if other.label != image.label:
            met = f"{printable(other.file)} ({printable(other.label)}) and {printable(image.file)} ({printable(image.label)})"
            raise DataError("E-DATA-BOTH-LABELS", f"{met} are the same image: keep the right one")


def given_or_drawn(images: Sequence[Listed], tensors: Sequence[str], shares: Shares) -> list[str]:
    """The given splits; a missing validation part is drawn from the training part; without any, all three are drawn."""
    given = [image.split for image in images]
    if not any(given):
        return _drawn(images, tensors, {"test": shares.test, "val": shares.val}, shares.seed)
    if not all(given):
        bare = images[given.index("")].file
        raise DataError("E-DATA-SPLIT", f"{printable(bare)} has no split and others have: give every image one, or none")
    if "val" in given:
        return given
    training = [k for k, split in enumerate(given) if split.startswith("train")]
    val_share = shares.val / (1 - shares.test)  # of the training part, so that it is the same share of all
    drawn = _drawn([images[k] for k in training], [tensors[k] for k in training], {"val": val_share}, shares.seed)
    for k, split in zip(training, drawn, strict=True):
        given[k] = "val" if split == "val" else given[k]
    return given


def _drawn(images: Sequence[Listed], tensors: Sequence[str], parts: dict[str, float], seed: int) -> list[str]:
    """Draws parts with the given shares, the rest is "train": groups and equal images stay together, labels in proportion.

    Greedy: units in seeded random order, the largest first, each to the part that is then nearest to its aim for every label.
    """
    labels = sorted({image.label for image in images})
    together = units(images, tensors)
    counts = np.zeros((len(together), len(labels)))
    for u, unit in enumerate(together):
        for k in unit:
            counts[u, labels.index(images[k].label)] += 1
    names = [*parts, "train"]
    aims = np.array([*parts.values(), 1 - sum(parts.values())])[:, None] * counts.sum(axis=0)
    order = np.random.default_rng(seed).permutation(len(together))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    filled, splits = np.zeros_like(aims), ["train"] * len(images)
    for u in order:
        # The part whose lack of this unit's labels is largest, relative to what it is to have.
        part = int(np.argmax(((aims - filled) / np.maximum(aims, 1e-9)) @ counts[u]))
        filled[part] += counts[u]
        for k in together[u]:
            splits[k] = names[part]
    return splits


def units(images: Sequence[Listed], tensors: Sequence[str]) -> list[list[int]]:
    """Row numbers that must not be separated: of one group, or of equal images, or joined by a chain of both."""
    first: dict[tuple[str, str], int] = {}
    pairs = []
    for k, (image, tensor) in enumerate(zip(images, tensors, strict=True)):
        keys = [("tensor", tensor)] + ([("group", image.group)] if image.group else [])
        pairs += [(k, first.setdefault(key, k)) for key in keys]
    return joined(len(images), pairs)


def joined(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """0..count-1 in sets, each in order, of what pairs and chains of pairs join."""
    parent = list(range(count))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = k = parent[parent[k]]
        return k

    for k, other in pairs:
        parent[root(k)] = root(other)
    sets = defaultdict(list)
    for k in range(count):
        sets[root(k)].append(k)
    return list(sets.values())


def _check_leaks(rows: Sequence[SplitRow], tensors: Sequence[str]) -> None:
    """No image and no group in two parts: a test that has seen the answers proves nothing."""
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
            raise DataError("E-DATA-GROUP", f"{met}: keep a group in one split")


def _check_counts(rows: Sequence[SplitRow], labels: Sequence[str], minimum: int) -> None:
    counts = Counter((row.part, row.label) for row in rows)
    for part in SPLIT_NAMES:
        for label in labels:
            if counts[part, label] < minimum:
                met = f"{part} has {counts[part, label]} images of {printable(label)}, at least {minimum} are needed"
                lower = ", or lower it with --set min_per_class=N" if minimum > 1 else ""
                raise DataError("E-DATA-FEW", f"{met}: add images{lower}")
