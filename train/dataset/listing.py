"""The images of a data folder with their labels and any splits that are given: by a table, or by folders."""

import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from limiar.edge_app.errors import DataError, printable
from limiar.edge_app.image.containers import IMAGE_EXTENSIONS
from limiar.edge_app.image.folder import Tally, unwanted, walk
from limiar.edge_app.text import counted
from limiar.train.dataset.csv_table import columns, list_table
from limiar.train.dataset.labels import classes_inside, label_fault, told_apart
from limiar.train.dataset.listed import Listed, Listing, Met, refuse
from limiar.train.dataset.split_folders import SplitFolders, lone_class_note, split_folders

EXTENSIONS = tuple(sorted(IMAGE_EXTENSIONS))
SUFFIXES = ("neg", "pos")  # the course's `path[-7:-4]`: a name ends _neg or _pos before its extension
MANIFEST = "manifest.csv"


def list_images(folder: Path, table: Path | None, met: Met = refuse) -> Listing:
    """Finds the images of a data folder and their labels. Raises DataError.

    met: if it returns, what it was told of is left out and the search continues.
    """
    _check_folder(folder)
    if table is not None:
        images = list_table(folder, table, met)
        return Listing(images, (*_passed_over_splits(images), *told_apart((image.label for image in images), met)))
    own = folder / MANIFEST
    if own.is_symlink():
        link = f"{printable(str(own))} is a link and may lead out of the data folder"
        raise DataError("E-DATA-LINK", f"{link}: put the table itself there, or give it with --csv")
    if os.path.lexists(own) and not own.is_dir() and {"file", "label", "split"} <= set(columns(own)):
        note = f"labels and splits come from {printable(str(own))}; give --csv FILE for others"
        images = list_table(folder, own, met)
        return Listing(images, (note, *told_apart((image.label for image in images), met), *_names_note(images)))
    files, passed = walk_images(folder, met)
    images, notes = _placed(folder, files, met)
    images = _plainly_labelled(images, met)
    return Listing(images, (*passed, *notes, *_names_note(images)))


def _plainly_labelled(images: tuple[Listed, ...], met: Met) -> tuple[Listed, ...]:
    """Refuses labels that cannot be shown: they go into pages, tables and JSON, and onto terminals."""
    odd = {label: fault for label in {image.label for image in images} if (fault := label_fault(label))}
    for label, fault in sorted(odd.items()):
        met(DataError("E-DATA-LABEL", f"{printable(label)!r} {fault}"), label)
    return tuple(image for image in images if image.label not in odd)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise DataError("E-DATA-MISSING", f"{printable(str(folder))} is not a folder: give the folder that holds the images")


def walk_images(folder: Path, met: Met = refuse) -> tuple[list[str], tuple[str, ...]]:
    """Relative names of all images below a folder, in name order; what was skipped, as notes. A link is refused.

    Raises DataError, also if there is none.
    """
    _check_folder(folder)
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
    if not found:
        raise DataError(
            "E-DATA-EMPTY", f"{printable(str(folder))} contains no image ({' '.join(EXTENSIONS)}): give another folder"
        )
    return sorted(found, key=os.fsencode), (f"passed over: {passed.text()}",) if passed.text() else ()


def _placed(folder: Path, files: Sequence[str], met: Met) -> tuple[tuple[Listed, ...], tuple[str, ...]]:
    """The images with labels, and with splits if folders give them; notes."""
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
            fault = f"{where}: the split folders have different classes: {part} lacks {named}"
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
            fault = f"{printable(file)} is beside the folders of the splits"
            met(DataError("E-DATA-SPLIT", f"{fault}: move it into one, or elsewhere"), file)
        elif by_name and has:
            images.append(Listed(file, suffix, split))
        elif "/" in rest and not by_name:
            images.append(Listed(file, sys.intern(rest.partition("/")[0]), split))
        elif "/" not in rest:
            ends = "_" + " nor _".join(SUFFIXES)
            why = "not all names end like that" if has else f"ends in neither {ends} (suffix {printable(suffix)[:20]!r})"
            cure = "rename it, move it into a folder named as its class, or give --csv"
            met(DataError("E-DATA-LABEL", f"{printable(file)} is not in a class folder, and {why}: {cure}"), file)
        if by_name and has and (above := set(rest.split("/")[:-1]) & set(SUFFIXES) - {suffix}):
            fault = f"{printable(file)} is named _{suffix} but is in a folder {above.pop()}"
            met(DataError("E-DATA-LABEL", f"{fault}: rename or move it, or give --csv"), file)
    if not by_name:
        _check_filled(folder, files, met, given)
    return tuple(images)


def _check_filled(folder: Path, files: Sequence[str], met: Met, given: SplitFolders | None) -> None:
    """Refuses folders without an image that may be a class or a split."""
    used = _folders(files)
    first = given.level - given.classes_above if given else 0  # folders below these are classes or splits
    depths = (first, first + 1) if given else (first,)
    above = {name for name in ("", *used) if name.count("/") + bool(name) in depths}
    for parent in sorted(above):
        for child in sorted((folder / parent).iterdir()):
            name = child.relative_to(folder).as_posix()
            if child.is_dir() and not unwanted(child.name, is_folder=True) and name not in used:
                found = f"class folder {printable(str(child))} contains no image"
                met(DataError("E-DATA-EMPTY", f"{found}: fill it or remove it"), name)


def _folders(files: Iterable[str]) -> set[str]:
    """All folders with images, at any depth, relative to the data folder."""
    return {file[:end] for file in files for end, sign in enumerate(file) if sign == "/"}


def _passed_over_splits(images: Sequence[Listed]) -> tuple[str, ...]:
    """A note on a table without splits whose images are in folders that look like splits."""
    if any(image.split for image in images):
        return ()
    try:
        given = split_folders([image.file for image in images], "")
    except DataError:
        given = None
    names = ", ".join(map(printable, given.parts)) if given else ""
    return (f"the table gives no splits: they are drawn, and the folders {names} are ignored",) if given else ()


def _names_note(images: Iterable[Listed]) -> tuple[str, ...]:
    """A note on file names that are not UTF-8: they are taken as they are."""
    odd = [image.file for image in images if not is_utf8(image.file)]
    if not odd:
        return ()
    return (f"{counted(len(odd), 'file name is', 'file names are')} not UTF-8, for instance {printable(odd[0])}",)


def is_utf8(name: str) -> bool:
    """Whether an os.fsdecode'd name came from bytes that are UTF-8."""
    return name.isascii() or not any("\udc80" <= character <= "\udcff" for character in name)
