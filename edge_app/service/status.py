"""How a device is: what its service says, or without one, what its state folder and the machine still say."""

import contextlib
import hashlib
import sqlite3
from pathlib import Path

import msgspec

from limiar.edge_app import APP
from limiar.edge_app.bundle.manifest import MANIFEST, MANIFEST_LIMIT, parse_manifest
from limiar.edge_app.control import AskStatus, ask
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.health.clock import ClockTrust
from limiar.edge_app.health.sensors import board_status, store_status
from limiar.edge_app.health.space import disk_status
from limiar.edge_app.health.status import BundleStatus, FleetStatus, OtherSlot, Problem, Status, problems
from limiar.edge_app.install.record import BUNDLES
from limiar.edge_app.install.slots import Slots
from limiar.edge_app.store.app_files import app_sha256
from limiar.edge_app.store.outbox import Uplink, uplink
from limiar.edge_app.store.state import DATABASE
from limiar.edge_app.system.board import Board
from limiar.edge_app.system.clock import boot_id
from limiar.edge_app.system.files import read_bounded


def read_status(state: Path) -> Status:
    """The status of a state folder. Raises LimiarError: the service does not answer, or belongs to another user."""
    if (said := ask(state, AskStatus())) is None:
        return at_rest(state)
    try:
        return msgspec.json.decode(said, type=Status)
    except msgspec.MsgspecError:
        met = f"the service of {state} answered in a way that this limiar does not know"
        raise LimiarError("E-SERVICE-SILENT", f"{met}: restart the service after an update of limiar") from None


def at_rest(state: Path) -> Status:
    """Without a service. Nothing is written; raises nothing."""
    status = Status(
        running=False,
        app=APP,
        app_sha256=app_sha256().hex(),
        boot_id=boot_id(),
        bundle=_bundle(state),
        store=store_status(state / DATABASE, _entries(state / DATABASE), None) if (state / DATABASE).exists() else None,
        fleet=_fleet(state / DATABASE),
        disk=disk_status(state),
        board=board_status(Board().sample()),
        clock=ClockTrust().status(),
    )
    return msgspec.structs.replace(status, problems=problems(status))


def _bundle(state: Path) -> BundleStatus | None:
    """The one that `limiar run` would start with, if the configuration names none."""
    slots = Slots(state).status()
    current = slots.current
    other = next((slot for slot in slots.slots if not slot.current), None)
    if current is None:
        return None
    folder = state / BUNDLES / current.slot
    return BundleStatus(
        name=current.name,
        version=current.version,
        sha256=current.bundle,
        counter=current.release_counter,
        file="",
        runtime="",
        verified="",
        slot=current.slot,
        on_trial=not current.good,
        tries_left=current.tries_left,
        other=OtherSlot(other.name, other.version, other.release_counter) if other else None,
        floor=slots.floor,
        intended_use=_intended_use(folder, current.bundle),
        folder=str(folder),
    )


def _intended_use(folder: Path, sha256: str) -> str:
    """Of the manifest in a slot; empty if it is not the one that was installed."""
    try:
        raw = read_bounded(folder / MANIFEST, MANIFEST_LIMIT)
        if hashlib.sha256(raw).hexdigest() != sha256:
            return ""
        return parse_manifest(raw, where=str(folder)).intended_use
    except (OSError, LimiarError):
        return ""


def fleet_status(found: Uplink, trouble: tuple[str, str] = ("", "")) -> FleetStatus:
    """An outbox, for a status. trouble: code and message of what is wrong with the uplink."""
    code, message = trouble
    return FleetStatus(store=found.store.hex(), waiting=found.waiting, acked=found.acked, code=code, message=message)


def with_fleet(status: Status, found: Uplink, trouble: tuple[str, str]) -> Status:
    """A status of a device in a fleet."""
    found_problems = (*status.problems, Problem("warning", *trouble)) if trouble[0] else status.problems
    return msgspec.structs.replace(status, fleet=fleet_status(found, trouble), problems=found_problems)


def _fleet(database: Path) -> FleetStatus | None:
    """None if the database cannot be read, or this device is in no fleet."""
    with contextlib.suppress(sqlite3.Error), _read(database) as db:
        found = uplink(lambda sql: db.execute(sql).fetchall())
        return fleet_status(found) if found else None
    return None


def _entries(database: Path) -> int | None:
    """The highest ID; None if the database cannot be read, or is of an older limiar."""
    with contextlib.suppress(sqlite3.Error), _read(database) as db:
        (found,) = db.execute("SELECT MAX(id) FROM entries").fetchone()
        return found if isinstance(found, int) else 0
    return None


def _read(database: Path) -> contextlib.closing[sqlite3.Connection]:
    """Without a log it is read as it is: even a reader would make a log, which could then belong to root."""
    how = "mode=ro" if database.with_name(f"{database.name}-wal").exists() else "mode=ro&immutable=1"
    return contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?{how}", uri=True))
