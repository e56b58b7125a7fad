"""Folders that say which images train and which judge: train/CLASS and test/CLASS, as most published data sets come.

Taken for classes they would give a model that tells training images from test images.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from edge_app.errors import DataError, printable
from edge_app.text import counted

# What the folders of published data sets are called, without "set", "images", a year and the like (train_set, val2017).
NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "development": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "holdout": "test",
}
_TAIL = re.compile(r"(set|split|data|images|imgs|[0-9]{1,4})$")
_ALIKE = 2  # folders that two others both hold: hardly two classes, then
_CURE = "move what is no split elsewhere, or give --csv with the columns file, label and split"


@dataclass(frozen=True)
class SplitFolders:
    """Where in an image's path its split stands."""

    level: int  # of the split's folder; 0 is the first
    parts: dict[str, str]  # its name -> train, val or test
    classes_above: bool = False  # CLASS/train/… instead of train/CLASS/…

    def part(self, file: str) -> str:
        """Of an image, relative to the data folder; "" where it lies in no split's folder."""
        words = file.split("/")
        return self.parts[words[self.level]] if len(words) > self.level + 1 else ""

    def rest(self, file: str) -> str:
        """The path without the split's folder: what the label is read from."""
        words = file.split("/")
        return "/".join([*(words[: self.level] if self.classes_above else ()), *words[self.level + 1 :]])

    def note(self, files: Sequence[str], where: str) -> str:
        """For a person."""
        counts = Counter(file.split("/")[self.level] for file in files if self.part(file))
        told = ", ".join(f"{printable(name)} ({self.parts[name]}, {counted(count, 'image')})" for name, count in counts.items())
        return f"{where}: the folders {told} are taken as given splits; give --csv FILE for others"


def part_of(name: str) -> str | None:
    """train, val or test, where a folder is named as one; in any case, with any sign between words."""
    word = re.sub(r"[^a-z0-9]", "", name.casefold())
    while word not in NAMES and (shorter := _TAIL.sub("", word)) != word:
        word = shorter
    return NAMES.get(word)


def split_folders(files: Sequence[str], where: str) -> SplitFolders | None:
    """Of the images of a data folder, relative to it; None where no folders are splits.

    Raises DataError where some of the folders beside each other are splits and others not, or none of them is for training.
    """
    paths = [file.split("/") for file in files]
    level = _common(paths)
    if parts := _parts(paths, level, where):
        return SplitFolders(level, parts)
    if parts := _parts(paths, level + 1, where):
        return SplitFolders(level + 1, parts, classes_above=True)
    return None


def lone_class_note(files: Sequence[str]) -> tuple[str, ...]:
    """A class that is named as a split is: one may be right (bus, car, train), and is worth a look."""
    named = sorted({first for first, _, rest in (file.partition("/") for file in files) if rest and part_of(first)})
    return (f"the folder {printable(named[0])} is taken for a class, as the folders beside it are",) if named else ()


def _common(paths: Sequence[list[str]]) -> int:
    """How many folders hold all images, down to one that is named as a split."""
    first = paths[0][:-1]
    for level, name in enumerate(first):
        if part_of(name) or any(path[:-1][: level + 1] != first[: level + 1] for path in paths):
            return level
    return len(first)


def _parts(paths: Sequence[list[str]], level: int, where: str) -> dict[str, str] | None:
    """The folders at that level, where they are splits."""
    held: dict[str, set[str]] = defaultdict(set)  # a folder -> the folders in it
    for path in paths:
        if len(path) > level + 1:
            held[path[level]].update(path[level + 1 : -1][:1])
    parts = {name: part for name in sorted(held) if (part := part_of(name))}
    others = sorted(held.keys() - parts.keys())
    if not parts:
        return None
    if others:
        if len(set(parts.values())) == 1 and all(len(held[a] & held[b]) < _ALIKE for a in parts for b in others):
            return None  # a class that happens to be called so
        met = f"{where}: the folders {_names(parts)} are named as splits, {_names(others)} beside them not"
        raise DataError("E-DATA-SPLIT", f"{met}: {_CURE}")
    if "train" not in parts.values():
        met = f"{where}: the folders {_names(parts)} are named as splits, and none is for training"
        raise DataError("E-DATA-SPLIT", f"{met}: name that one train, or give the folder that holds the class folders")
    return parts


def _names(names: Sequence[str] | dict[str, str]) -> str:
    known = list(names)
    return ", ".join(map(printable, known[:5])) + (f" and {len(known) - 5} more" if len(known) > 5 else "")
