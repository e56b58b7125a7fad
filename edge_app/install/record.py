"""bundles/ in the state folder: two slots, what is known about each, and a link that says which is current.

    bundles/a, bundles/b    a bundle each
    bundles/current         a link to one of them, and the only place that says which
    bundles/slots.json      a Record
    bundles/keys/           public keys that every bundle must be signed by one of
    bundles/staging         a bundle that is being installed; left by a process that was killed, until the next install

Whatever is read here may be damaged, or from another version.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from limiar.edge_app.bundle.manifest import Count, Name, Sha256
from limiar.edge_app.errors import LimiarError, StoreError, printable
from limiar.edge_app.system.files import read_bounded, sync_directory, write_whole

BUNDLES = "bundles"
CURRENT = "current"
STAGING = "staging"
TRIES = 3  # starts of a new bundle before it is good: one may fail for another reason, such as a cut, and 3 take under 60 s

_SLOTS = "slots.json"
_NEXT = "current.next"
_LIMIT = 64 << 10  # bytes of slots.json; it has under 1,500
_CHANGE_S = 10.0  # a change of slots.json takes milliseconds, and on a slow card that is busy a second

SlotName = Literal["a", "b"]
SLOTS: tuple[SlotName, ...] = get_args(SlotName)
OTHER: dict[SlotName, SlotName] = {"a": "b", "b": "a"}


class Slot(Struct, frozen=True, forbid_unknown_fields=True):
    """The bundle in a slot."""

    bundle: Sha256  # of its manifest.json
    name: Name
    version: Name
    release_counter: Count
    signed_by: Sha256 | None  # the key's fingerprint; None: no signature was asked for
    good: bool = False  # the service finished enough scans with it
    tries_left: Annotated[int, Meta(ge=0, le=TRIES)] = TRIES  # starts, until it is good
    left: Annotated[str, Meta(max_length=500)] = ""  # why the device went back from it, if it did


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """slots.json"""

    schema: Literal[1] = 1
    floor: Count = 0  # the largest release counter that was good here: nothing older is installed
    a: Slot | None = None
    b: Slot | None = None

    def of(self, slot: SlotName) -> Slot | None:
        """What is in a slot."""
        return self.a if slot == "a" else self.b

    def having(self, slot: SlotName, content: Slot | None) -> "Record":
        """The same with something else in a slot."""
        return msgspec.structs.replace(self, **{slot: content})


def read_record(folder: Path) -> Record | None:
    """slots.json; None if it is missing or damaged."""
    try:
        return msgspec.json.decode(read_bounded(folder / _SLOTS, _LIMIT), type=Record)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def write_record(folder: Path, record: Record) -> None:
    """Writes slots.json, whole and on the disk. Raises StoreError."""
    with telling(folder):
        write_whole(folder / _SLOTS, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


def current_slot(folder: Path) -> SlotName | None:
    """The slot that the link leads to; None if there is no such link."""
    try:
        target = os.readlink(folder / CURRENT)
    except OSError:
        return None
    return next((slot for slot in SLOTS if slot == target), None)


def point(folder: Path, slot: SlotName) -> None:
    """Makes a slot current, in one step and on the disk. Raises StoreError."""
    with telling(folder):
        (folder / _NEXT).unlink(missing_ok=True)  # left by a process that was killed
        (folder / _NEXT).symlink_to(slot)
        (folder / _NEXT).replace(folder / CURRENT)
        sync_directory(folder)


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Keeps other processes from changing slots.json and the link meanwhile. Raises StoreError E-UPDATE-BUSY."""
    with locked(folder, "slots.lock", _CHANGE_S):
        yield


@contextlib.contextmanager
def locked(folder: Path, name: str, wait_s: float) -> Iterator[None]:
    """Holds a lock that the kernel takes back when this process ends. Raises StoreError E-UPDATE-BUSY."""
    with telling(folder):
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    met = f"another process is changing the bundles in {printable(str(folder))}"
                    raise StoreError("E-UPDATE-BUSY", f"{met}: wait until it has ended, then try again") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def telling(folder: Path) -> Iterator[None]:
    """Turns an OSError about the state folder into a StoreError with what to do."""
    try:
        yield
    except OSError as error:
        met = f"{printable(str(folder))} cannot be written ({error.strerror or error})"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError("E-UPDATE-SPACE", f"{met}: free space, then try again") from None
        raise StoreError("E-UPDATE-WRITE", f"{met}: check its owner and the disk") from None


def nothing_installed(state: Path) -> LimiarError:
    """What to raise if there is no bundle."""
    met = f"no bundle is installed in {printable(str(state))}"
    return LimiarError("E-UPDATE-NONE", f"{met}: install one with `limiar install BUNDLE`")
