"""A process that pulls the bundle that is desired of this device, and installs it: it may take long, or be killed at any time.

What the broker and the web server say is not believed: a bundle is installed as one that a device found by itself, signed by a
key that it trusts and newer than what it had.
"""

import hashlib
import os
import random
import select
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from limiar.edge_app.bundle.archive import Archive
from limiar.edge_app.bundle.manifest import TOTAL_LIMIT
from limiar.edge_app.bundle.signature import Keys, read_keys
from limiar.edge_app.errors import BundleError, LimiarError, StoreError, printable
from limiar.edge_app.fleet.fetch import SUFFIX, Later, Mismatch, Server, Wanted, clear, fetch, fetched
from limiar.edge_app.fleet.messages import Desired, PullState
from limiar.edge_app.install.install import install, roll_back
from limiar.edge_app.install.keys import asked_keys
from limiar.edge_app.install.record import BUNDLES, telling
from limiar.edge_app.install.telling import tell
from limiar.edge_app.system.channel import WorkerEnd

FOLDER = "fleet"  # in the state folder: what is being fetched
_FIRST_S, _LONGEST_S = 1.0, 300.0  # between two tries
_MOST = TOTAL_LIMIT + (64 << 20)  # bytes of an archive: its files, and the rest
_MARGIN = 16 << 20  # bytes that stay free: results, while this goes on
_REPORTED = 0.02  # share of the file, between two reports
_MISMATCHES = 2  # files with another sha256, each fetched from its start, before it is the server's
_WAITS = frozenset({"E-UPDATE-BUSY", "E-UPDATE-SPACE", "E-UPDATE-WRITE", "E-FLEET-CERTIFICATE"})  # may work later
_BY_FLEET = "rolled back by the fleet"


class PullJob(Struct, frozen=True):
    """What the process is given."""

    desired: Desired
    server: Server
    state: bytes  # the state folder
    keys: tuple[str, ...]  # of limiar.toml: key files
    revoked: tuple[str, ...]
    file: str | None  # the model file and runtime that will answer
    runtime: str | None
    first_s: float = _FIRST_S


class Said(Struct, frozen=True):
    """How it stands."""

    state: PullState
    share: float = 0.0
    code: str = ""
    message: str = ""


Say = Callable[[Said], None]


def pull(parent: WorkerEnd) -> None:
    """The process's life: until it is done or refused, or the parent closes its end."""
    job = msgspec.msgpack.decode(parent.receive(), type=PullJob)
    state, wait_s, mismatches = Path(os.fsdecode(job.state)), job.first_s, 0

    def say(said: Said) -> None:
        parent.send(msgspec.msgpack.encode(said))

    while True:
        before = fetched(state / FOLDER, job.desired.archive)
        try:
            say(_back(state, job.desired.bundle) if job.desired.action == "back" else _installed(state, job, say))
            return
        except LimiarError as error:
            mismatches += isinstance(error, Mismatch)
            again = isinstance(error, Later) or error.code in _WAITS
            again |= isinstance(error, Mismatch) and mismatches < _MISMATCHES
            share = fetched(state / FOLDER, job.desired.archive) / max(1, job.desired.bytes)
            say(Said("waiting" if again else "refused", min(1.0, share), error.code, error.message))
            if not again:
                return
        if fetched(state / FOLDER, job.desired.archive) > before:
            wait_s = job.first_s
        part = random.uniform(0.5, 1.0)  # noqa: S311 no secret: not all devices of a fleet at once
        if _ended(parent, part * wait_s):
            return
        wait_s = min(2 * wait_s, _LONGEST_S)


def _installed(state: Path, job: PullJob, say: Say) -> Said:
    """Raises LimiarError."""
    desired, folder = job.desired, state / FOLDER
    given = read_keys(*job.keys, revoked=job.revoked) if job.keys else None
    _check(state, job, given)
    told = -1.0

    def progress(there: int) -> None:
        nonlocal told
        share = there / max(1, desired.bytes)
        if share - told >= _REPORTED or share == 1:
            told = share
            say(Said("pulling", share))

    progress(fetched(folder, desired.archive))
    path = fetch(job.server, Wanted(desired.archive, desired.bytes), folder, progress)
    say(Said("installing", 1.0))
    _check_manifest(path, desired)
    done = install(state, path, given, file=job.file, runtime=job.runtime, by_person=False)
    code, message = "", ""
    if not done.already:
        code, message = _told(state, "install", done.detail | {"rollout": str(desired.rollout)})
    clear(folder)
    return Said("installed", 1.0, code, message)


def _check(state: Path, job: PullJob, given: Keys | None) -> None:
    """Before anything is fetched. Raises LimiarError."""
    desired = job.desired
    if not job.server.base:
        raise BundleError("E-FLEET-BUNDLES", "this device takes no bundles from its fleet: give `bundles` in [fleet]")
    if asked_keys(state / BUNDLES, given) is None:
        met = "this device trusts no key, so it takes no bundle from its fleet"
        raise BundleError("E-FLEET-KEYS", f"{met}: name a key in limiar.toml, or install once with --key")
    if desired.bytes > _MOST:
        met = f"a bundle of {desired.bytes >> 20} MiB is desired, and {_MOST >> 20} MiB are the limit"
        raise BundleError("E-FLEET-SIZE", f"{met}: roll out a smaller one")
    clear(state / FOLDER, keep=desired.archive)
    with telling(state):
        disk = os.statvfs(state)
    free = disk.f_bavail * disk.f_frsize
    needed = desired.bytes - fetched(state / FOLDER, desired.archive) + desired.bytes + _MARGIN  # the file, and its copy
    if free < needed:
        raise StoreError("E-UPDATE-SPACE", f"{free >> 20} MiB are free, {needed >> 20} are needed: free space, and it goes on")


def _check_manifest(path: Path, desired: Desired) -> None:
    """Raises BundleError."""
    with Archive(path, follow=False) as archive:
        found = hashlib.sha256(archive.manifest).hexdigest()
    if found != desired.bundle:
        met = f"{desired.archive[:12]}{SUFFIX} holds bundle {found[:12]}, and {desired.bundle[:12]} is desired"
        raise BundleError("E-FLEET-BUNDLE", f"{met}: begin the roll-out again with `limiar fleet roll-out`")


def _back(state: Path, bundle: str) -> Said:
    """Raises LimiarError."""
    done = roll_back(state, _BY_FLEET, only=bundle)
    code, message = _told(state, "roll-back", msgspec.structs.asdict(done) | {"why": _BY_FLEET})
    return Said("installed", 1.0, code, message or f"{printable(done.name)} {printable(done.version)} is current again")


def _told(state: Path, kind: str, detail: dict[str, str]) -> tuple[str, str]:
    """Keeps it in the audit log and has the service start again; what of this did not work. Raises nothing."""
    try:
        tell(state, kind, detail)
    except LimiarError as error:
        return error.code, error.message
    return "", ""


def _ended(parent: WorkerEnd, wait_s: float) -> bool:
    """Waits; whether the parent has closed its end."""
    poll = select.poll()
    poll.register(parent, select.POLLIN)
    return bool(poll.poll(wait_s * 1000))
