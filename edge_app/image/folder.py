"""A folder -> the pictures below it. The rest is passed over and counted, by the one list of names that is here.

A device, training, checks and conversion all use these rules.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from msgspec import Struct, UnsetType

from limiar.edge_app.image.containers import FOREIGN_EXTENSIONS, IMAGE_EXTENSIONS, holds_picture
from limiar.edge_app.text import counted

Kind = Literal["hidden", "system", "unfinished", "excluded", "output", "link", "twice", "other"]

# Folders and files that operating systems and shares make: bins, indexes, thumbnails, remains of a repair. Lower case.
_SYSTEM = frozenset(
    {
        *(
            "$recycle.bin",
            "recycler",
            "recycled",
            "system volume information",
            "thumbs.db",
            "ehthumbs.db",
            "desktop.ini",
        ),  # Windows
        *("__macosx", "network trash folder", "temporary items", "icon\r"),  # macOS; the names with a dot are hidden anyway
        *("@eadir", "@tmp", "#recycle", "#snapshot"),  # Synology
        *("@recycle", "@recently-snapshot", "@__thumb"),  # QNAP
        *("lost+found", "lost.dir", "~snapshot", "dicomdir"),  # Linux, Android, NetApp, the index of a DICOM medium
    }
)
_FOUND = re.compile(r"found\.\d{3}", re.IGNORECASE)  # made when Windows repairs a disk
_UNFINISHED = (".part", ".partial", ".filepart", ".tmp", ".temp", ".crdownload", ".download", ".opdownload")
_HEAD_BYTES = 132  # up to the mark of a DICOM file (PS3.10, 7.1)


class Found(NamedTuple):
    """A picture to take, if `kind` is None; otherwise something that is passed over, and why."""

    path: bytes
    kind: Kind | None = None
    reason: str = ""
    is_link: bool = False
    is_folder: bool = False


class Passed(Struct, frozen=True):
    """Something that was passed over, as a line of `--passed-over FILE`."""

    path: str
    path_base64: str | UnsetType  # only if the name is not UTF-8
    kind: Kind
    reason: str


class Choice(Struct, frozen=True):
    """What to take from a folder. A glob with a slash is matched with the path below the folder, one without with the name."""

    include: tuple[str, ...] = ()  # only files that match one of these, even without the extension of a picture
    exclude: tuple[str, ...] = ()  # no files and no folders that match one of these
    follow: bool = False  # follow links to files and folders; each folder is entered once


def walk(
    folder: bytes,
    choice: Choice | None = None,
    without: Collection[bytes] = (),
    enter: Callable[[bytes], object] = lambda folder: None,
) -> Iterator[Found]:
    """What is below a folder, in name order. A folder that cannot be read is returned itself, to be refused with the reason.

    without: the real paths of folders that are not entered, because this run writes there. enter: called with each folder
    before it is read.
    """
    choice = choice or Choice()
    include, exclude = choice.include, choice.exclude
    entered = {_identity(folder)}
    start = len(os.path.join(folder, b""))
    left: list[os.DirEntry[bytes]] = []  # a stack, the next one last: folders may be nested deeper than Python recurses
    while True:
        enter(folder)
        try:
            with os.scandir(folder) as entries:
                left += sorted(entries, key=lambda entry: entry.name, reverse=True)
        except OSError:
            yield Found(folder, is_folder=True)
        while left:
            entry = left.pop()
            name, below = os.fsdecode(entry.name), entry.path[start:]
            is_link, is_folder = entry.is_symlink(), _is_folder(entry)
            if kind := unwanted(name, is_folder):
                yield Found(entry.path, kind, _REASONS[kind], is_link, is_folder)
            elif exclude and _named(exclude, below, is_folder):
                yield Found(entry.path, "excluded", "--exclude names it", is_link, is_folder)
            elif is_folder and not is_picture_name(entry.name):  # a folder named like an image is refused like one
                if without and os.path.realpath(entry.path) in without:
                    yield Found(entry.path, "output", "answers are written there", is_link, is_folder)
                elif is_link and not choice.follow:
                    yield Found(entry.path, "link", "a link to a folder: --follow enters it", is_link, is_folder)
                elif choice.follow and (identity := _identity(entry.path)) in entered:
                    yield Found(entry.path, "twice", "leads to a folder that was entered before", is_link, is_folder)
                else:
                    if choice.follow:
                        entered.add(identity)
                    folder = entry.path
                    break
            elif include and not _named(include, below, is_folder):
                yield Found(entry.path, "excluded", "no --include names it", is_link)
            elif include or _is_picture(entry.path, name):
                yield Found(entry.path, is_link=is_link)
            else:
                yield Found(entry.path, "other", f"{_extension(name) or 'no extension'}: not a picture by its name", is_link)
        else:
            return


_REASONS: dict[Kind, str] = {
    "hidden": "a hidden name",
    "system": "a name that systems use",
    "unfinished": "the name of an unfinished or temporary file",
}


def unwanted(name: str, is_folder: bool) -> Kind | None:
    """Why a file or folder of this name is passed over; None if it is not."""
    if name.startswith("."):
        return "hidden"
    if name.lower() in _SYSTEM or _FOUND.fullmatch(name):
        return "system"
    if not is_folder and (name.startswith("~") or name.endswith("~") or _extension(name) in _UNFINISHED):
        return "unfinished"
    return None


class Tally:
    """Counts what was passed over, for a line at the end."""

    def __init__(self) -> None:
        self.kinds: Counter[Kind] = Counter()
        self._extensions: Counter[str] = Counter()

    def add(self, found: Found) -> None:
        """Counts it, unless it is a picture."""
        if found.kind:
            self.kinds[found.kind] += 1
        if found.kind == "other":
            self._extensions[_extension(os.fsdecode(found.path)) or "without an extension"] += 1

    def text(self) -> str:
        """For a person: "3 other files (2 .txt, 1 .zip), 1 hidden"; empty if there is nothing."""
        parts = []
        if others := self.kinds["other"]:
            common = self._extensions.most_common()
            shown = [f"{count} {extension}" for extension, count in common[:_EXTENSIONS_SHOWN]]
            if rest := sum(count for _, count in common[_EXTENSIONS_SHOWN:]):
                shown.append(f"{rest} more")
            parts.append(f"{counted(others, 'other file')} ({', '.join(shown)})")
        parts += [f"{self.kinds[kind]} {kind}" for kind in ("hidden", "system", "unfinished", "excluded") if self.kinds[kind]]
        if links := self.kinds["link"]:
            parts.append(f"{counted(links, 'linked folder')} not followed")
        return ", ".join(parts)


_EXTENSIONS_SHOWN = 5  # the commonest, in the line for a person


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _identity(folder: bytes) -> tuple[int, int]:
    try:
        found = os.stat(folder)
    except OSError:  # it is gone, or will be refused later
        return -1, -1
    return found.st_dev, found.st_ino


def is_picture_name(path: bytes) -> bool:
    """Whether a path has the extension of a picture that is read here."""
    return _extension(os.fsdecode(path)) in IMAGE_EXTENSIONS


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def kind_by_name(below: bytes, choice: Choice, is_folder: bool) -> Kind | None:
    """What `walk` would say of something that is not on this machine, by its path below the folder; None: it is taken."""
    name = os.fsdecode(os.path.basename(below))
    if kind := unwanted(name, is_folder):
        return kind
    if _named(choice.exclude, below, is_folder):
        return "excluded"
    if is_folder:
        return None
    if choice.include:
        return None if _named(choice.include, below, is_folder) else "excluded"
    return None if _extension(name) in IMAGE_EXTENSIONS | FOREIGN_EXTENSIONS else "other"


def takes(folder: bytes, path: bytes, choice: Choice) -> bool:
    """Whether `walk` would take what is at this path, if it enters the folder that holds it, and it is a plain file."""
    name, below = os.fsdecode(os.path.basename(path)), path[len(os.path.join(folder, b"")) :]
    if unwanted(name, is_folder=False) or _named(choice.exclude, below, is_folder=False):
        return False
    if choice.include:
        return _named(choice.include, below, is_folder=False)
    return _is_picture(path, name)


def _is_picture(path: bytes, name: str) -> bool:
    """By its extension, even one that will be refused; by its first bytes if it has none, or only a number."""
    extension = _extension(name)
    if extension in IMAGE_EXTENSIONS or extension in FOREIGN_EXTENSIONS:
        return True
    return not extension.strip(".0123456789") and _holds_picture(path)


def _holds_picture(path: bytes) -> bool:
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):  # opening a device may do something
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return holds_picture(os.read(descriptor, _HEAD_BYTES))
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _named(globs: Sequence[str], below: bytes, is_folder: bool) -> bool:
    """Whether a glob matches, as in ripgrep: one with a slash the whole path below the folder; ** is any number of folders."""
    parts = os.fsdecode(below).split("/")
    for glob in globs:
        if glob.endswith("/") and not is_folder:
            continue
        wanted = glob.removeprefix("./").strip("/").split("/")
        if _fits(parts, wanted) if "/" in glob.rstrip("/") else fnmatchcase(parts[-1], wanted[0]):
            return True
    return False


def _fits(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_fits(parts[k:], wanted[1:]) for k in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], wanted[0]) and _fits(parts[1:], wanted[1:])
