"""A new bundle becomes current as a whole or not at all, and there is a way back: `limiar install` and `limiar rollback`.

The order, which a power cut may end anywhere: copy to staging, every file and folder on the disk; check all of it and run its
golden images there; exchange staging and the slot that is not current; write slots.json; make a link and rename it over
`current`. Each step is on the disk before the next, and the last before anything is reported.
"""

import hashlib
import os
import shutil
from pathlib import Path

import msgspec
from msgspec import Struct

from limiar.edge_app.bundle.manifest import Manifest, parse_manifest
from limiar.edge_app.bundle.open import Bundle, check_signature, open_bundle
from limiar.edge_app.bundle.signature import Keys
from limiar.edge_app.errors import BundleError, LimiarError, StoreError, printable
from limiar.edge_app.install.keys import asked_keys, keep_keys
from limiar.edge_app.install.proof import Proof, prove
from limiar.edge_app.install.record import (
    BUNDLES,
    OTHER,
    STAGING,
    Record,
    Slot,
    SlotName,
    changing,
    current_slot,
    locked,
    point,
    read_record,
    telling,
    write_record,
)
from limiar.edge_app.install.slots import leave, settled, slot_of, usable
from limiar.edge_app.install.staging import check_space, opened, stage
from limiar.edge_app.store.state import state_folder
from limiar.edge_app.system.files import replace_folder, sync_directory

_ROLLED_BACK = "rolled back by a person"


class Installed(Struct, frozen=True):
    """The outcome of an installation."""

    bundle: str  # sha256 of its manifest
    name: str
    version: str
    release_counter: int
    slot: str
    signed_by: str | None  # the key's fingerprint; None: no signature was asked for
    already: bool  # it was the current bundle before: nothing was changed
    file: str  # the model file whose golden images passed; empty if it was there already
    runtime: str
    fall_back: str | None  # name and version of the bundle in the other slot; None: nothing to fall back to

    @property
    def detail(self) -> dict[str, str]:
        """For the audit log."""
        return {
            key: "" if value is None else str(value) for key, value in msgspec.structs.asdict(self).items() if key != "already"
        }


class RolledBack(Struct, frozen=True):
    """The outcome of a roll-back."""

    bundle: str  # that is current now
    name: str
    version: str
    left: str  # sha256 of the manifest of the one before


def install_bundle(
    source: Path | str,
    *,
    state: Path | str | None = None,
    keys: Keys | None = None,
    file: str | None = None,
    runtime: str | None = None,
) -> Installed:
    """Install a bundle on this device, as `limiar install` does: a folder, or a file of `limiar pack`.

        installed = limiar.install_bundle("lung-nodule-2.limiar", keys=limiar.read_keys("release.pub"))

    It is on trial until `limiar run` has finished enough scans with it. keys: one of these must have signed it, and they are
    kept: later bundles must be signed by them too. file, runtime: those that will answer, if not the bundle's and device's own.
    Raises BundleError, KeyFileError, StoreError and RuntimeUnavailable, and then nothing was changed.
    """
    return install(Path(state) if state else state_folder(), Path(source), keys, file=file, runtime=runtime)


def install(
    state: Path,
    source: Path,
    keys: Keys | None = None,
    *,
    file: str | None = None,
    runtime: str | None = None,
    by_person: bool = True,
) -> Installed:
    """`install_bundle`. by_person: False if a device found it by itself.

    Then its keys are not kept, a link is not followed, and a bundle from which the device went back is not taken again.
    """
    folder = _prepared(state)
    staging = folder / STAGING
    with locked(folder, "install.lock", wait_s=0.0):
        asked = asked_keys(folder, keys)
        _remove(staging, *folder.glob(".[ab].*.old"))  # left by a process that was killed
        try:
            with opened(source, asked, follow=by_person) as bundle:
                if asked is not None:  # before anything in the manifest is trusted
                    check_signature(source, bundle.manifest, bundle.signature, asked)
                manifest = parse_manifest(bundle.manifest, where=printable(str(source)))
                if there := _already(state, manifest, bundle.manifest, by_person):
                    if keys is not None and by_person:
                        keep_keys(folder, keys)
                    return there
                check_space(folder, manifest)
                stage(bundle, manifest, staging)
            staged = open_bundle(staging, asked)
            proof = prove(staged, file, runtime)
            if keys is not None and by_person:
                keep_keys(folder, keys)
            slot, other = _commit(state, staged)
        finally:
            _remove(staging)
    return _outcome(slot_of(staged), slot, other, proof)


def roll_back(state: Path, why: str = _ROLLED_BACK, only: str | None = None) -> RolledBack:
    """Makes the bundle in the other slot current again. The one before stays in its slot, for another roll-back.

    why: is kept with the one that it leaves. only: sha256 of the manifest of the bundle that is to be left, and no other.
    Raises LimiarError E-UPDATE-NONE; StoreError E-UPDATE-BACK: there is none that was good here; and E-UPDATE-BUSY.
    """
    folder = _prepared(state)
    with changing(folder):
        record, slot = settled(state)
        target, now = OTHER[slot], record.of(OTHER[slot])
        if now is None or not now.good or not usable(folder, record, target, even_left=True):
            met = "there is no other whole bundle that was good on this device"
            raise StoreError("E-UPDATE-BACK", f"{met}: install one with `limiar install BUNDLE`")
        before = record.of(slot)
        assert before  # `settled` has looked
        if only not in (None, before.bundle):
            raise StoreError("E-UPDATE-BACK", f"{before.name} {before.version} is current, which was not meant: look again")
        record = record.having(target, msgspec.structs.replace(now, left=""))
        leave(folder, record, slot, why)
    return RolledBack(now.bundle, now.name, now.version, before.bundle)


def _prepared(state: Path) -> Path:
    """bundles/ in the state folder, made if it is not there. Raises StoreError."""
    folder = state / BUNDLES
    with telling(state):
        if not folder.is_dir():
            state.mkdir(parents=True, exist_ok=True)
            folder.mkdir(exist_ok=True)
            sync_directory(state)
            sync_directory(state.parent)
        owner = folder.stat().st_uid
    if owner != os.geteuid():
        met = (
            f"{printable(str(folder))} belongs to user {owner}, whose service could not use what user {os.geteuid()} puts there"
        )
        raise StoreError("E-UPDATE-USER", f"{met}: run the same command as that user, for example with sudo -u")
    return folder


def _already(state: Path, manifest: Manifest, raw: bytes, by_person: bool) -> Installed | None:
    """What is known if this is the current bundle; None if it is new. Raises BundleError if it must not be installed."""
    folder = state / BUNDLES
    record = read_record(folder) or Record()
    sha256 = hashlib.sha256(raw).hexdigest()
    slots = {content.bundle: content for content in (record.a, record.b) if content}
    if not by_person and sha256 in slots and slots[sha256].left:
        met = f"{manifest.name} {manifest.version} was installed before, and left ({slots[sha256].left})"
        raise BundleError("E-UPDATE-LEFT", f"{met}: `limiar install` installs it all the same")
    current = current_slot(folder)
    content = record.of(current) if current else None
    if current and content and content.bundle == sha256 and usable(folder, record, current):
        return _outcome(content, current, record.of(OTHER[current]))
    _check_newer(record, content, manifest.name, manifest.version, manifest.release_counter, sha256)
    return None


def _check_newer(record: Record, current: Slot | None, name: str, version: str, counter: int, sha256: str) -> None:
    """Raises BundleError: the bundle is older than the floor or the current one, or another one of the same counter."""
    floor = max(record.floor, current.release_counter if current else 0)
    if counter < floor:
        met = f"{name} {version} has release counter {counter}, and this device has had {floor}"
        raise BundleError("E-UPDATE-OLDER", f"{met}: install a newer one, or go back with `limiar rollback`")
    if current and counter == current.release_counter and sha256 != current.bundle:
        met = f"{name} {version} has release counter {counter}, as another bundle that is current"
        raise BundleError("E-UPDATE-SAME", f"{met}: convert it again with a higher --release-counter")


def _commit(state: Path, staged: Bundle) -> tuple[SlotName, Slot | None]:
    """Makes the staged bundle current; returns its slot, and what the device falls back to. Raises StoreError, BundleError."""
    folder = state / BUNDLES
    with changing(folder):
        try:
            record, current = settled(state)
        except LimiarError as error:
            if error.code != "E-UPDATE-NONE":
                raise
            record, current = read_record(folder) or Record(), None  # the first one
        now = record.of(current) if current else None
        new = slot_of(staged)
        # Once more: meanwhile a service may have marked another one as good, or gone back.
        _check_newer(record, now, new.name, new.version, new.release_counter, new.bundle)
        if current and now and not now.good and usable(folder, record, OTHER[current]):
            # A newer one takes the place of one on trial; the one that works stays.
            record = leave(folder, record, current, "a newer one was installed")
            current = OTHER[current]
        target: SlotName = OTHER[current] if current else "a"
        with telling(folder):
            replace_folder(staged.path, folder / target)
        write_record(folder, record.having(target, new))
        point(folder, target)
    return target, record.of(OTHER[target])


def _outcome(content: Slot, slot: SlotName, other: Slot | None, proof: Proof | None = None) -> Installed:
    """proof: None if the bundle was there already."""
    return Installed(
        bundle=content.bundle,
        name=content.name,
        version=content.version,
        release_counter=content.release_counter,
        slot=slot,
        signed_by=content.signed_by,
        already=proof is None,
        file=proof.file if proof else "",
        runtime=proof.runtime if proof else "",
        fall_back=f"{other.name} {other.version}" if other and not other.left else None,
    )


def _remove(*paths: Path) -> None:
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
