"""USB sticks: a signed, newer bundle on one is installed, and results are copied onto it. Nothing on it is ever run.

A stick is untrusted, whoever plugs it in. Of what is on it, only NAME.limiar files in its top folder are read, as untrusted as
any archive; without keys none is. Its file system is mounted by the system, not by limiar, and may be pulled out at any time.
"""

import contextlib
import os
import re
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from limiar.edge_app.bundle.archive import Archive
from limiar.edge_app.bundle.manifest import parse_manifest
from limiar.edge_app.bundle.open import check_signature
from limiar.edge_app.bundle.signature import Keys
from limiar.edge_app.errors import LimiarError, OutputError, printable
from limiar.edge_app.install.install import Installed, install
from limiar.edge_app.install.keys import asked_keys
from limiar.edge_app.install.record import BUNDLES
from limiar.edge_app.system.files import WholeFile

ROOTS = (Path("/media"), Path("/run/media"), Path("/mnt"))  # where systems mount what a person plugs in
RESULTS = "limiar-results"
MOUNTS, BLOCK_DEVICES = Path("/proc/self/mountinfo"), Path("/sys/dev/block")

_FILE_SYSTEMS = frozenset({"vfat", "exfat", "ext2", "ext3", "ext4", "ntfs3", "fuseblk", "f2fs", "btrfs", "xfs"})
_MOST_MOUNTS = 1 << 20  # bytes of mountinfo that are read
_MOST_ENTRIES = 10_000  # of a stick's top folder that are looked at
_MOST_ARCHIVES = 16  # of those, that are opened
_ESCAPE = re.compile(rb"\\([0-7]{3})")  # of a space, tab, line end and backslash in mountinfo, proc(5)
_HOST = re.compile(r"[^A-Za-z0-9_.-]")

Export = Callable[[Callable[[bytes], None]], None]  # writes results by calling its argument; raises LimiarError


class Stick(Struct, frozen=True):
    """A mounted stick."""

    path: Path
    mount: int  # the kernel's number of the mount: another stick at the same place has another one
    device: int  # st_dev
    read_only: bool


class StickFound(Struct, frozen=True):
    """What a stick led to. Refusals are told once for each stick, not at every look."""

    name: str  # of the archive's file
    installed: Installed | None
    code: str  # why not; empty if it was installed
    message: str


class Sticks:
    """The sticks that are plugged in, for a service that looks now and then.

    sticks = Sticks(state_folder(), keys)
    for found in sticks.look():      # a stick that was there at the last look is not read again
        ...

    A look installs, which takes seconds: call it in a child process, not where the store is written.
    """

    def __init__(self, state: Path, keys: Keys | None, roots: Sequence[Path] = ROOTS) -> None:
        """keys: of which one must have signed a bundle, besides those that the device has kept."""
        self._state = state
        self._keys = keys
        self._roots = tuple(roots)
        self._seen: frozenset[Stick] = frozenset()

    def look(self) -> list[StickFound]:
        """Installs the newest bundle of each stick that is new; what happened to each archive. Raises nothing."""
        own = _device(self._state)
        sticks = frozenset(stick for stick in mounted_sticks(self._roots) if stick.device != own)
        new = sorted(sticks - self._seen, key=lambda stick: stick.path)
        self._seen = sticks
        return [found for stick in new for found in self._take(stick)]

    @property
    def sticks(self) -> tuple[Stick, ...]:
        """Those of the last look that can be written."""
        return tuple(sorted((stick for stick in self._seen if not stick.read_only), key=lambda stick: stick.path))

    def _take(self, stick: Stick) -> Iterator[StickFound]:
        """Tries the archives of a stick, the one with the largest release counter first, until one is installed."""
        candidates = []
        for path in _archives(stick):
            try:
                candidates.append((self._counter(path), path))
            except LimiarError as error:
                yield StickFound(printable(path.name), None, error.code, error.message)
        for _, path in sorted(candidates, reverse=True):
            try:
                done = install(self._state, path, self._keys, by_person=False)
            except LimiarError as error:
                yield StickFound(printable(path.name), None, error.code, error.message)
                continue
            if not done.already:
                yield StickFound(printable(path.name), done, "", "")
            return

    def _counter(self, path: Path) -> int:
        """The release counter of a signed archive. Raises LimiarError."""
        keys = asked_keys(self._state / BUNDLES, self._keys)
        if keys is None:
            met = f"{printable(path.name)} is on a stick, and this device trusts no key"
            raise LimiarError("E-UPDATE-KEY", f"{met}: name a key in limiar.toml, or install once with --key")
        with Archive(path, follow=False) as archive:
            check_signature(path, archive.manifest, archive.signature, keys)
            return parse_manifest(archive.manifest, printable(path.name)).release_counter


def mounted_sticks(roots: Sequence[Path] = ROOTS) -> Iterator[Stick]:
    """The removable disks that are mounted below these folders. Raises nothing: what cannot be read is left out."""
    try:
        with open(MOUNTS, "rb") as file:
            lines = file.read(_MOST_MOUNTS).splitlines()
    except OSError:
        return
    for line in lines:
        before, _, after = line.partition(b" - ")
        fields, kind = before.split(b" "), after.split(b" ")
        if len(fields) < 6 or os.fsdecode(kind[0]) not in _FILE_SYSTEMS or not _removable(os.fsdecode(fields[2])):
            continue
        path = Path(os.fsdecode(_ESCAPE.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), fields[4])))
        if (device := _device(path)) is not None and any(root in path.parents for root in roots):
            yield Stick(path, int(fields[0]), device, b"ro" in fields[5].split(b","))


def _removable(number: str) -> bool:
    """Whether a disk, as "8:1", can be taken out: it says so, or it is on USB, since large sticks do not say so."""
    if not re.fullmatch(r"\d{1,7}:\d{1,7}", number):
        return False
    disk = Path(os.path.realpath(BLOCK_DEVICES / number))
    if any(re.fullmatch(r"usb\d+", part) for part in disk.parts):
        return True
    for folder in (disk, disk.parent):  # of a partition, and of its disk
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return (folder / "removable").read_text(encoding="ascii").strip() == "1"
    return False


def copy_results(stick: Stick, name: str, export: Export) -> Path:
    """Writes results onto a stick, as limiar-results/HOST/NAME: whole, or not at all if it is pulled out. Raises LimiarError.

    A folder that is a link is not followed: it could lead to this device's own files.
    """
    host = _HOST.sub("_", socket.gethostname())[:64].lstrip(".") or "device"
    folder = stick.path
    try:
        for part in (RESULTS, host):
            folder = folder / part
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
            if not stat.S_ISDIR(folder.lstat().st_mode) or folder.lstat().st_dev != stick.device:
                raise OSError(20, "it is not a plain folder of the stick", str(folder))
        out = WholeFile(folder / name)
        try:
            export(out.write)
        except BaseException:
            out.discard()
            raise
        out.publish()
    except OSError as error:
        met = f"results were not copied to {printable(str(folder))} ({error.strerror or error})"
        raise OutputError("E-OUTPUT-WRITE", f"{met}: plug the stick in again, or take another") from None
    return folder / name


def _archives(stick: Stick) -> list[Path]:
    """The plain files NAME.limiar of a stick's top folder, in name order; none if it cannot be read."""
    found = []
    with contextlib.suppress(OSError), os.scandir(stick.path) as entries:
        for count, entry in enumerate(entries):
            if count >= _MOST_ENTRIES:
                break
            if entry.name.endswith(".limiar") and not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                found.append(Path(entry.path))
    return sorted(found)[:_MOST_ARCHIVES]


def _device(path: Path) -> int | None:
    try:
        return path.stat(follow_symlinks=False).st_dev
    except (OSError, ValueError):
        return None
