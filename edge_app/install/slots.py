"""Which of the two bundles runs: a new one is on trial, and whatever does not work gives way to the one before.

    slots = Slots(state_folder())
    start = slots.start()           # one try less, on the disk, before anything of the bundle is loaded
    ...                             # the service answers images
    slots.good()                    # once enough scans are finished
    slots.fail("what went wrong")   # or at once back to the other one

A process that loads a bundle and is killed has used a try, and the start after the last try falls back by itself.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.errors import BundleError, LimiarError, StoreError, printable
from limiar.edge_app.install.record import (
    BUNDLES,
    OTHER,
    SLOTS,
    TRIES,
    Record,
    Slot,
    SlotName,
    changing,
    current_slot,
    nothing_installed,
    point,
    read_record,
    write_record,
)


class Start(Struct, frozen=True):
    """The bundle to load now."""

    path: Path  # of its slot; stays that of this bundle while it is the current one
    bundle: str  # sha256 of its manifest
    on_trial: bool  # not good yet
    tries_left: int  # starts after this one; 0 for a good bundle
    fell_back: str  # why it is not the one that was current, for the audit log; empty if it is


class SlotStatus(Struct, frozen=True):
    """A slot, for `limiar status` and `limiar install --json`."""

    slot: SlotName
    current: bool
    bundle: str
    name: str
    version: str
    release_counter: int
    signed_by: str | None
    good: bool
    tries_left: int
    left: str


class SlotsStatus(Struct, frozen=True):
    """Both slots."""

    floor: int  # no bundle with a smaller release counter is installed
    slots: tuple[SlotStatus, ...]  # those that hold a bundle

    @property
    def current(self) -> SlotStatus | None:
        """The current one."""
        return next((slot for slot in self.slots if slot.current), None)


class Slots:
    """The bundles of a state folder, for the process that runs one of them."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._folder = state / BUNDLES
        self._started: tuple[SlotName, str] | None = None  # slot, and sha256 of the manifest

    def start(self) -> Start:
        """The bundle to load now, whole; if it is on trial, this try is counted on the disk before this returns.

        Raises LimiarError E-UPDATE-NONE and E-UPDATE-DAMAGED, StoreError E-UPDATE-BUSY, E-UPDATE-WRITE and E-UPDATE-SPACE.
        """
        if not self._folder.is_dir():
            raise nothing_installed(self._state)
        with changing(self._folder):
            record, slot = settled(self._state)
            fell_back = ""
            if why := reason_to_leave(self._folder, record, slot):
                damage = damaged(self._folder, record, slot)
                if usable(self._folder, record, OTHER[slot], even_left=bool(damage)):
                    record = leave(self._folder, record, slot, why)
                    slot, fell_back = OTHER[slot], why
                elif damage:
                    met = f"the only bundle in {printable(str(self._folder))} is damaged ({damage})"
                    raise LimiarError("E-UPDATE-DAMAGED", f"{met}: install it again with `limiar install BUNDLE`")
            content = _content(record, slot)
            if not content.good and content.tries_left:
                content = msgspec.structs.replace(content, tries_left=content.tries_left - 1)
                write_record(self._folder, record.having(slot, content))
        self._started = slot, content.bundle
        tries = 0 if content.good else content.tries_left
        return Start(self._folder / slot, content.bundle, not content.good, tries, fell_back)

    def good(self) -> None:
        """Marks the bundle that was started as good, and lets nothing older be installed any more. Raises StoreError."""
        with changing(self._folder):
            if not (found := self._still_there()):
                return
            record, slot, content = found
            floor = max(record.floor, content.release_counter)
            if not content.good or floor > record.floor:
                new = msgspec.structs.replace(content, good=True, tries_left=0, left="")
                write_record(self._folder, msgspec.structs.replace(record.having(slot, new), floor=floor))

    def ended(self) -> None:
        """Gives back the try of this start, since the service ended in order. Raises StoreError."""
        with changing(self._folder):
            if (found := self._still_there()) and not found[2].good:
                record, slot, content = found
                tries_left = min(TRIES, content.tries_left + 1)
                write_record(self._folder, record.having(slot, msgspec.structs.replace(content, tries_left=tries_left)))

    def fail(self, reason: str) -> bool:
        """Goes back from the bundle that was started to the other one; returns whether it did. Raises StoreError.

        It does not if there is no other whole bundle, if the device went back from that one too, or if meanwhile another
        bundle has become current. The next `start` gives the bundle that is current then.
        """
        with changing(self._folder):
            if not (found := self._still_there()):
                return False
            record, slot, _ = found
            if current_slot(self._folder) != slot or not usable(self._folder, record, OTHER[slot]):
                return False
            leave(self._folder, record, slot, reason)
        return True

    def status(self) -> SlotsStatus:
        """What both slots hold. Without any lock, and nothing is checked; never raises."""
        record = read_record(self._folder) or Record()
        current = current_slot(self._folder)
        slots = [
            SlotStatus(slot=slot, current=slot == current, **msgspec.structs.asdict(content))
            for slot in SLOTS
            if (content := record.of(slot))
        ]
        return SlotsStatus(record.floor, tuple(slots))

    def _still_there(self) -> tuple[Record, SlotName, Slot] | None:
        """The record, and the slot and bundle that were started; None if that slot holds another bundle by now."""
        record = read_record(self._folder)
        if record is None or self._started is None:
            return None
        slot, bundle = self._started
        content = record.of(slot)
        return (record, slot, content) if content and content.bundle == bundle else None


def settled(state: Path) -> tuple[Record, SlotName]:
    """The record and the current slot, made again from the slots where they were lost. Raises LimiarError E-UPDATE-NONE."""
    folder = state / BUNDLES
    record = read_record(folder)
    if record is None:
        record = _from_slots(folder)
        if record != Record():
            write_record(folder, record)
    slot = current_slot(folder)
    if slot is None or record.of(slot) is None:
        filled = [(content.good, content.release_counter, one) for one in SLOTS if (content := record.of(one))]
        if not filled:
            raise nothing_installed(state)
        slot = max(filled)[2]
        point(folder, slot)
    return record, slot


def _from_slots(folder: Path) -> Record:
    """A record of what is whole in the slots, each on trial: what was good, and the floor, are not known any more."""
    record = Record()
    for slot in SLOTS:
        try:
            record = record.having(slot, slot_of(open_bundle(folder / slot)))
        except BundleError:
            continue
    return record


def slot_of(bundle: Bundle) -> Slot:
    """A slot with a bundle that is new here."""
    manifest = bundle.manifest
    signed_by = bundle.signed_by.fingerprint if bundle.signed_by else None
    return Slot(bundle.sha256, manifest.name, manifest.version, manifest.release_counter, signed_by)


def damaged(folder: Path, record: Record, slot: SlotName) -> str:
    """What differs from the bundle that was installed in a slot; empty if it is whole."""
    try:
        found = open_bundle(folder / slot).sha256
    except BundleError as error:
        return error.code
    return "" if found == _content(record, slot).bundle else "another bundle is in its folder"


def reason_to_leave(folder: Path, record: Record, slot: SlotName) -> str:
    """Why the current bundle should give way to the other one; empty if it should not."""
    content = _content(record, slot)
    if content.left:  # the power was cut before the link was changed
        return content.left
    if not content.good and not content.tries_left:
        return f"not good after its last try, of {content.name} {content.version}"
    return damaged(folder, record, slot)


def usable(folder: Path, record: Record, slot: SlotName, even_left: bool = False) -> bool:
    """Whether a slot has a whole bundle. even_left: even one from which the device went back."""
    content = record.of(slot)
    return content is not None and (even_left or not content.left) and not damaged(folder, record, slot)


def leave(folder: Path, record: Record, slot: SlotName, why: str) -> Record:
    """Makes the other slot current and keeps why; returns the record. Raises StoreError."""
    content = msgspec.structs.replace(_content(record, slot), left=printable(why)[:500] or "it failed")
    record = record.having(slot, content)
    write_record(folder, record)
    point(folder, OTHER[slot])
    return record


def _content(record: Record, slot: SlotName) -> Slot:
    content = record.of(slot)
    if content is None:
        raise StoreError("E-UPDATE-DAMAGED", f"slot {slot} holds no bundle: install one with `limiar install BUNDLE`")
    return content
