"""What a label may be, and labels that were probably not meant: said before hours are spent on them."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from limiar.edge_app.bundle.manifest import REFER, REFUSED
from limiar.edge_app.errors import DataError, printable
from limiar.edge_app.text import is_plain

_UNPLAIN = "has a character that cannot be seen, or is not UTF-8: rename it"
# Folders that each hold all classes: a number, a letter or a name follows the word.
_NO_CLASSES = re.compile(
    "fold|cv|part|batch|site|hospital|clinic|centre|center|scanner|camera|device|session|day|patient|pat|subject|sub|person|"
    "case|id|p|originals?|augmented|augmentation"
)
_NAMED = 4  # folders in a message


def label_fault(label: str) -> str | None:
    """Why no bundle could hold the label, and what to do: said before the training, not after it. None if one can."""
    if label in (REFER, REFUSED):
        return "is the name of a decision: give the class another name"
    return None if is_plain(label) else _UNPLAIN


def looks(label: str) -> str:
    """A label as it is seen: its accents joined with their letters, one space between words and none around them."""
    return " ".join(unicodedata.normalize("NFC", label).split())


def told_apart(labels: Iterable[str], met: Callable[[DataError, str], None]) -> tuple[str, ...]:
    """Tells `met` of labels that no reader can tell apart; returns notes on those that differ only in case."""
    alike: dict[str, list[str]] = defaultdict(list)
    by_case: dict[str, list[str]] = defaultdict(list)
    for label in sorted(set(labels)):
        alike[looks(label)].append(label)
    for look, twins in alike.items():
        by_case[look.casefold()].append(look)
        if len(twins) > 1:
            named = " and ".join(map(ascii, twins))
            met(DataError("E-DATA-LABEL", f"the labels {named} look alike: give the class one name"), twins[1])
    return tuple(
        f"the labels {' and '.join(map(printable, looks))} differ only in case and are taken for two classes"
        for looks in by_case.values()
        if len(looks) > 1
    )


def classes_inside(images: Iterable[tuple[str, str]], met: Callable[[DataError, str], None]) -> tuple[str, ...]:
    """Whether the folders in the class folders are the classes: each class folder contains the same ones.

    images: label and path, which begins with the label if that is a folder's name. If the class folders are named like
    folds, patients and so on, `met` is told; else there is a note.
    """
    held: dict[str, set[str]] = defaultdict(set)
    for label, file in images:
        above, _, rest = file.partition("/")
        if above != label:
            return ()
        held[label].add(rest.rpartition("/")[0].partition("/")[0])
    inside = next(iter(held.values()), set())
    if len(held) < 2 or len(inside) < 2 or "" in inside or any(other != inside for other in held.values()):
        return ()
    outer, inner = _some(held), _some(inside)
    found = f"the folders {outer} each contain the folders {inner}"
    cure = "give --csv with the columns file, label, and group if an outer folder is, say, a patient"
    if all((words := re.findall(r"[a-z]+", name.casefold())) and _NO_CLASSES.fullmatch(words[0]) for name in held):
        met(DataError("E-DATA-LABEL", f"{found}, which are probably the classes: {cure}"), outer)
    return (f"{found}; the classes are the outer ones; if they are the inner ones, {cure}",)


def one_class(folder: Path, files: Sequence[str], label: str) -> str:
    """What to say about images that all have one label, and what to do."""
    cure = "add images of another class"
    common = os.path.commonpath([os.path.dirname(file) for file in files])
    if common and any(os.path.dirname(file) != common for file in files):
        cure = f"give {printable(str(folder / common))} if the folders in it are the classes, or {cure}"
    return f"all {len(files)} images have the label {printable(label)}: {cure}"


def _some(names: Iterable[str]) -> str:
    known = sorted(names)
    return ", ".join(map(printable, known[:_NAMED])) + (f" and {len(known) - _NAMED} more" if len(known) > _NAMED else "")
