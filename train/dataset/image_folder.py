"""A folder of images -> labelled, split, decoded data; whatever would spoil a result is refused by name.

Images are read as a device reads them, so that a model is trained, and judged, on exactly what it will be shown.
"""

import csv
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

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import DataError, printable
from limiar.edge_app.image.containers import IMAGE_EXTENSIONS
from limiar.edge_app.image.folder import Tally, nobodys, walk
from limiar.edge_app.image.resize import tensor_sha256
from limiar.edge_app.system.files import read_bounded
from limiar.edge_app.text import counted, without_passwords
from limiar.train.dataset.image_store import ImageStore, InMemory, Keep, Shelf
from limiar.train.dataset.labels import classes_inside, label_fault, one_class, told_apart
from limiar.train.dataset.reading import Decoded, Item, Refused, read_all
from limiar.train.dataset.split_folders import SplitFolders, lone_class_note, split_folders
from limiar.train.dataset.splits import Listed, Shares, given_or_drawn
from limiar.train.record.run_folder import SPLIT_NAMES, SplitRow

EXTENSIONS = tuple(sorted(IMAGE_EXTENSIONS))
SUFFIXES = ("neg", "pos")  # the course's `path[-7:-4]`: a name ends _neg or _pos before its extension
MANIFEST = "manifest.csv"
TABLE_LIMIT = 256 << 20  # bytes: two million images
_NAMED = 5  # so many bad images are named in a message, the others counted


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
        found = one_class(folder, [image.file for image in listing.images], labels[0])
        raise DataError("E-DATA-ONE-CLASS", f"{printable(str(folder))}: {found}")
    with keep(len(listing.images), spec) as store:
        files, tensors = read_images(folder, listing.images, spec, store, tick)
    _check_labels(listing.images, tensors)
    splits, told = given_or_drawn(listing.images, tensors, shares)
    rows = tuple(
        SplitRow(file=image.file, sha256=digest, label=image.label, split=split, group=image.group)
        for image, digest, split in zip(listing.images, files, splits, strict=True)
    )
    _check_leaks(rows, tensors)
    _check_counts(rows, labels, shares.minimum)
    truth = np.array([labels.index(row.label) for row in rows], dtype=np.int64)
    drawn = not any(image.split == "test" for image in listing.images)
    return DataSet(rows, drawn, labels, store, truth), (*listing.notes, *told)


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
        images = list_table(folder, table, met)
        return Listing(images, (*_passed_over_splits(images), *told_apart((image.label for image in images), met)))
    own = folder / MANIFEST
    if own.is_symlink():
        link = f"{printable(str(own))} is a link and may lead out of the data folder"
        raise DataError("E-DATA-LINK", f"{link}: put the table itself there, or give it with --csv")
    if os.path.lexists(own) and not own.is_dir() and {"file", "label", "split"} <= set(_columns(own)):
        note = f"labels and splits come from {printable(str(own))}; give --csv FILE for others"
        images = list_table(folder, own, met)
        return Listing(images, (note, *told_apart((image.label for image in images), met), *_names_note(images)))
    files, passed = _walk(folder, met)
    if not files:
        raise DataError(
            "E-DATA-EMPTY", f"{printable(str(folder))} holds no image ({' '.join(EXTENSIONS)}): give another folder"
        )
    images, notes = _placed(folder, files, met)
    images = _plainly_labelled(images, met)
    return Listing(images, (*passed, *notes, *_names_note(images)))


def _plainly_labelled(images: tuple[Listed, ...], met: Met) -> tuple[Listed, ...]:
    """A label goes into pages, tables and onto terminals, and into JSON."""
    odd = {label: fault for label in {image.label for image in images} if (fault := label_fault(label))}
    for label, fault in sorted(odd.items()):
        met(DataError("E-DATA-LABEL", f"{printable(label)!r} {fault}"), label)
    return tuple(image for image in images if image.label not in odd)


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
            met(fault, without_passwords(image.file))
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
        met = f"{where}: {printable(image.file)} leads out of {printable(str(folder))}"
        return DataError("E-DATA-OUTSIDE", f"{met}: give paths below the data folder, and files, not links")
    if image.split and image.split not in SPLIT_NAMES and not image.split.startswith("train"):
        return DataError("E-DATA-SPLIT", f"{where}: split {printable(image.split)} is none of train…, val, test: change it")
    return None


def _leaves(folder: Path, file: str) -> bool:
    """Whether a link on the way leads out of the data folder. (A link as the file itself is refused when it is read.)"""
    parent = (folder / file).parent.resolve()
    return not parent.is_relative_to(folder.resolve())


def _walk(folder: Path, met: Met) -> tuple[list[str], tuple[str, ...]]:
    """Relative names of all images below the folder, in name order; what was passed over, as notes. A link is refused."""
    found, passed = [], Tally()
    start = len(os.path.join(os.fsencode(folder), b""))
    for one in walk(os.fsencode(folder)):
        file, where = os.fsdecode(one.path[start:]), printable(one.path)
        if one.is_link and one.kind in (None, "link"):
            leads = f"{where} is a link and may lead out of the data folder"
            met(DataError("E-DATA-LINK", f"{leads}: put the files themselves there"), file)
        elif one.kind is not None:
            passed.add(one)
        elif one.is_folder:
            met(DataError("E-DATA-MISSING", f"{where} is a folder that cannot be read: check its permissions"), file)
        else:
            found.append(file)
    return sorted(found, key=os.fsencode), (f"passed over: {passed.text()}",) if passed.text() else ()


def _placed(folder: Path, files: Sequence[str], met: Met) -> tuple[tuple[Listed, ...], tuple[str, ...]]:
    """The images with labels, and with splits where folders give them; notes."""
    where = printable(str(folder))
    try:
        given = split_folders(files, where)
    except DataError as error:
        met(error, where)
        given = None
    if given is None:
        images = _labelled(folder, files, met)
        told = told_apart((image.label for image in images), met)
        return images, (*lone_class_note(files), *told, *classes_inside(((image.label, image.file) for image in images), met))
    images = _labelled(folder, files, met, given)
    told = told_apart((image.label for image in images), met)
    told += classes_inside(((image.label, given.rest(image.file)) for image in images), met)
    held: dict[str, set[str]] = defaultdict(set)
    for image in images:
        held[given.parts[image.file.split("/")[given.level]]].add(image.label)
    every = set().union(*held.values())
    for part, labels in sorted(held.items()):
        if lacking := sorted(every - labels):
            named = f"{printable(lacking[0])}" + (f" and {len(lacking) - 1} more" if len(lacking) > 1 else "")
            fault = f"{where}: the split folders hold different classes: {part} lacks {named}"
            met(DataError("E-DATA-SPLIT", f"{fault}: name the class folders alike in each split, or give --csv"), part)
    return images, (given.note(files, where), *told)


def _labelled(folder: Path, files: Sequence[str], met: Met, given: SplitFolders | None = None) -> tuple[Listed, ...]:
    """Labels from `…_pos.png` and `…_neg.png`, else from class folders, right below the data folder or a split's."""
    rests = [given.rest(file) for file in files] if given else list(files)
    suffixes = [sys.intern(PurePosixPath(file).stem.rpartition("_")[2]) for file in files]
    named = [suffix in SUFFIXES for suffix in suffixes]
    by_name = all(named) or (any(named) and not any("/" in rest for rest in rests))
    images = []
    for file, rest, suffix, has in zip(files, rests, suffixes, named, strict=True):
        split = given.part(file) if given else ""
        if given and not split:
            fault = f"{printable(file)} lies beside the folders of the splits"
            met(DataError("E-DATA-SPLIT", f"{fault}: move it into one, or elsewhere"), file)
        elif by_name and has:
            images.append(Listed(file, suffix, split))
        elif "/" in rest and not by_name:
            images.append(Listed(file, sys.intern(rest.partition("/")[0]), split))
        elif "/" not in rest:
            ends = "_" + " nor _".join(SUFFIXES)
            why = "not all names end so" if has else f"ends in neither {ends} (suffix {printable(suffix)[:20]!r})"
            cure = "rename it, move it into a folder named as its class, or give --csv"
            met(DataError("E-DATA-LABEL", f"{printable(file)} lies in no class folder, and {why}: {cure}"), file)
        if by_name and has and (above := set(rest.split("/")[:-1]) & set(SUFFIXES) - {suffix}):
            fault = f"{printable(file)} is named _{suffix} and lies in a folder {above.pop()}"
            met(DataError("E-DATA-LABEL", f"{fault}: rename or move it, or give --csv"), file)
    if not by_name:
        _check_filled(folder, files, met, given)
    return tuple(images)


def _check_filled(folder: Path, files: Sequence[str], met: Met, given: SplitFolders | None) -> None:
    """Every folder that may be a class or a split holds an image."""
    used = _folders(files)
    first = given.level - given.classes_above if given else 0  # folders below these are classes or splits
    depths = (first, first + 1) if given else (first,)
    above = {name for name in ("", *used) if name.count("/") + bool(name) in depths}
    for parent in sorted(above):
        for child in sorted((folder / parent).iterdir()):
            name = child.relative_to(folder).as_posix()
            if child.is_dir() and not nobodys(child.name, is_folder=True) and name not in used:
                found = f"class folder {printable(str(child))} holds no image"
                met(DataError("E-DATA-EMPTY", f"{found}: fill it or remove it"), name)


def _folders(files: Iterable[str]) -> set[str]:
    """All that images lie in, at any depth, relative to the data folder."""
    return {file[:end] for file in files for end, sign in enumerate(file) if sign == "/"}


def _passed_over_splits(images: Sequence[Listed]) -> tuple[str, ...]:
    """A table without splits, of images in folders that are."""
    if any(image.split for image in images):
        return ()
    try:
        given = split_folders([image.file for image in images], "")
    except DataError:
        given = None
    names = ", ".join(map(printable, given.parts)) if given else ""
    return (f"the table gives no splits: they are drawn, whatever the folders {names} say",) if given else ()


def _names_note(images: Iterable[Listed]) -> tuple[str, ...]:
    """File names are bytes: those that are not UTF-8 are taken, and reported."""
    odd = [image.file for image in images if not is_utf8(image.file)]
    return (f"{counted(len(odd), 'file name')} not UTF-8, for instance {printable(odd[0])}",) if odd else ()


def is_utf8(name: str) -> bool:
    """Whether an os.fsdecode'd name came from bytes that are UTF-8."""
    return name.isascii() or not any("\udc80" <= character <= "\udcff" for character in name)


def read_images(
    folder: Path, images: Sequence[Listed], spec: InputSpec, shelf: Shelf, tick: Callable[[int, int], None]
) -> tuple[list[str], list[str]]:
    """The sha256 of each file and of each model input. Every image is tried before those that failed are named."""
    files, tensors = [""] * len(images), [""] * len(images)
    faults: dict[int, str] = {}
    items = [
        Item(k, os.fsencode(folder / image.file), os.fsencode(image.file), shelf.digest(k)) for k, image in enumerate(images)
    ]
    for done, outcome in enumerate(read_all(items, spec), start=1):
        row = outcome.row
        if isinstance(outcome, Refused):
            faults[row] = f"{printable(images[row].file)} ({outcome.error})"
        else:
            files[row], tensors[row] = outcome.sha256.hex(), tensor_sha256(_shelved(shelf, outcome, spec))
        tick(done, len(images))
    refused = [fault for _, fault in sorted(faults.items())]
    if refused:
        more = f" and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
        met = f"{len(refused)} of {len(images)} images cannot be used: {', '.join(refused[:_NAMED])}{more}"
        raise DataError("E-DATA-IMAGE", f"{met}: replace or remove them")
    return files, tensors


def _shelved(shelf: Shelf, read: Decoded, spec: InputSpec) -> Pixels:
    """The image's input [H, W, C], kept."""
    if read.tensor is None:
        kept: Pixels = shelf.take(np.array([read.row]))[0]
        return kept
    tensor = np.frombuffer(read.tensor, np.uint8).reshape(spec.height, spec.width, spec.channels)
    shelf.put(read.row, read.sha256, tensor)
    return tensor


def _check_labels(images: Sequence[Listed], tensors: Sequence[str]) -> None:
    """The same image under two labels teaches nothing."""
    first: dict[str, Listed] = {}
    for image, tensor in zip(images, tensors, strict=True):
        other = first.setdefault(tensor, image)
        if other.label != image.label:
            met = f"{printable(other.file)} ({printable(other.label)}) and {printable(image.file)} ({printable(image.label)})"
            raise DataError("E-DATA-BOTH-LABELS", f"{met} are the same image: keep the right one")


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
                met = f"{part} has {counted(counts[part, label], 'image')} of {printable(label)}, at least {minimum} are needed"
                lower = ", or lower it with --set min_per_class=N" if minimum > 1 else ""
                raise DataError("E-DATA-FEW", f"{met}: add images{lower}")
