"""Folders that say which images are for training and which for testing: train/CLASS and test/CLASS, as in most published data.

Taken for classes, they would give a model that tells training images from test images.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from limiar.edge_app.errors import DataError, printable
from limiar.edge_app.text import counted

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
    "treino": "train",
    "treinamento": "train",
    "validacao": "val",
    "teste": "test",
    "entrenamiento": "train",
    "validacion": "val",
    "prueba": "test",
    "entrainement": "train",
    "apprentissage": "train",
}
_TAIL = re.compile(r"(set|split|data|images|imgs|[0-9]{1,4})$")
_PLAIN = ("set", "split", "data", "dataset", "images", "image", "imgs", "img")  # words that do not distinguish classes
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_ALIKE = 2  # folders that two others both contain: then these are hardly two classes
_CURE = "move what is not a split elsewhere, or give --csv with the columns file, label and split"


@dataclass(frozen=True)
class SplitFolders:
    """Where in an image's path its split is named."""

    level: int  # of the split's folder; 0 is the first
    parts: dict[str, str]  # its name -> train, val or test
    classes_above: bool = False  # CLASS/train/… instead of train/CLASS/…
    doubled: frozenset[str] = frozenset()  # splits with one more folder around the classes: train/images/CLASS

    def part(self, file: str) -> str:
        """The part of an image, relative to the data folder; "" if it is in no split's folder."""
        words = file.split("/")
        return self.parts[words[self.level]] if len(words) > self.level + 1 else ""

    def rest(self, file: str) -> str:
        """The path without the split's folder: what the label is read from."""
        words = file.split("/")
        inside = self.level + 1 + (words[self.level] in self.doubled)
        return "/".join([*(words[: self.level] if self.classes_above else ()), *words[inside:]])

    def note(self, files: Sequence[str], where: str) -> str:
        """What was taken for splits, in a line."""
        counts = Counter(file.split("/")[self.level] for file in files if self.part(file))
        told = ", ".join(f"{printable(name)} ({self.parts[name]}, {counted(count, 'image')})" for name, count in counts.items())
        return f"{where}: the folders {told} are taken as given splits; give --csv FILE for others"


def part_of(name: str) -> str | None:
    """train, val or test, if a folder is named as one, in any case and with any sign between words; else None."""
    word = re.sub(r"[^a-z0-9]", "", _bare(name).casefold())
    word = re.sub(r"^[0-9]+(?=[a-z])", "", word)  # 01_train
    while word not in NAMES and (shorter := _TAIL.sub("", word)) != word:
        word = shorter
    return NAMES.get(word)


def _named_after(name: str) -> tuple[str, str] | None:
    """train, val or test, and of what, if one word of several says it: seg_train is ("train", "seg")."""
    words = [word.casefold() for word in _WORDS.findall(_bare(name)) if not word.isdigit()]
    parts = [word for word in words if word in NAMES]
    if len(parts) != 1:
        return None
    return NAMES[parts[0]], " ".join(word for word in words if word not in (*parts, *_PLAIN))


def _bare(name: str) -> str:
    """Without accents: validação."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", name) if not unicodedata.combining(sign))


def split_folders(files: Sequence[str], where: str) -> SplitFolders | None:
    """Finds the splits among the folders of images, relative to the data folder; None if no folders are splits.

    Raises DataError if only some of the folders beside each other are splits, or none of them is for training.
    """
    paths = [file.split("/") for file in files]
    level = _common(paths)
    if parts := _parts(paths, level, where):
        return SplitFolders(level, parts, doubled=_doubled(paths, level))
    if parts := _parts(paths, level + 1, where):
        return SplitFolders(level + 1, parts, classes_above=True)
    return None


def lone_class_note(files: Sequence[str]) -> tuple[str, ...]:
    """A note on a class that is named like a split: it may be right (bus, car, train), and is worth a look."""
    named = sorted({first for first, _, rest in (file.partition("/") for file in files) if rest and part_of(first)})
    return (f"the folder {printable(named[0])} is taken for a class, like the folders beside it",) if named else ()


def _common(paths: Sequence[list[str]]) -> int:
    """How many folders contain all images, down to one that is named as a split."""
    first = paths[0][:-1]
    for level, name in enumerate(first):
        if part_of(name) or any(path[:-1][: level + 1] != first[: level + 1] for path in paths):
            return level
    return len(first)


def _parts(paths: Sequence[list[str]], level: int, where: str) -> dict[str, str] | None:
    """The folders at that level, if they are splits."""
    held: dict[str, set[str]] = defaultdict(set)  # a folder -> the folders in it
    for path in paths:
        if len(path) > level + 1:
            held[path[level]].update(path[level + 1 : -1][:1])
    parts = {name: part for name in sorted(held) if (part := part_of(name))} or _alike_but_for_the_split(held, where)
    others = sorted(held.keys() - parts.keys())
    if not parts:
        return None
    if others:
        if len(set(parts.values())) == 1 and all(len(held[a] & held[b]) < _ALIKE for a in parts for b in others):
            return None  # a class that happens to have that name
        met = f"{where}: the folders {_names(parts)} are named as splits, but {_names(others)} beside them are not"
        raise DataError("E-DATA-SPLIT", f"{met}: {_CURE}")
    if "train" not in parts.values():
        met = f"{where}: the folders {_names(parts)} are named as splits, but none is for training"
        raise DataError("E-DATA-SPLIT", f"{met}: name one of them train, or give the folder with the class folders")
    return parts


def _alike_but_for_the_split(names: Iterable[str], where: str) -> dict[str, str]:
    """Finds seg_train and seg_test; a test tube beside a bullet train are two classes."""
    found = {name: after for name in sorted(names) if (after := _named_after(name))}
    of = defaultdict(set)
    for part, what in found.values():
        of[what].add(part)
    if not any("train" in parts and len(parts) > 1 for parts in of.values()):
        return {}
    if len(of) > 1:
        met = f"{where}: the folders {_names(list(found))} are named as splits of several things ({_names(sorted(of))})"
        raise DataError("E-DATA-SPLIT", f"{met}: put a folder for each class into one for each split, or give --csv")
    return {name: part for name, (part, _) in found.items()}


def _doubled(paths: Sequence[list[str]], level: int) -> frozenset[str]:
    """The splits whose images are in one more folder that is named like the split or says nothing."""
    inside: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        if len(path) > level + 1:
            inside[path[level]].add(path[level + 1] if len(path) > level + 3 else "")
    return frozenset(
        name for name, held in inside.items() if len(held) == 1 and (held == {name} or held.pop().casefold() in _PLAIN)
    )


def _names(names: Sequence[str] | dict[str, str]) -> str:
    known = list(names)
    return ", ".join(map(printable, known[:5])) + (f" and {len(known) - 5} more" if len(known) > 5 else "")
