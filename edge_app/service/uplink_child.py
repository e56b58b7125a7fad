"""A device's uplink beside the service: edge_app/fleet, which the process that keeps the store does not load."""

from pathlib import Path

import msgspec
from msgspec import Struct

from limiar.edge_app.health.log import Level, Log
from limiar.edge_app.service.companion import Companion
from limiar.edge_app.service.config import Config, FleetSection

_PROGRAM = """
from limiar.edge_app.fleet.run import main
main()
"""


class UplinkJob(Struct, frozen=True, forbid_unknown_fields=True):
    """What the uplink gets on its stdin, as JSON."""

    fleet: FleetSection
    state: str  # the state folder
    keys: tuple[str, ...]  # public keys: a new bundle must be signed by one of them
    revoked: tuple[str, ...]
    file: str | None  # the model file and runtime that will answer with a new bundle, if the configuration names them
    runtime: str | None
    moved_to: tuple[str, ...]  # names of the folders to which answered images are moved
    log: Level = "info"  # the least important lines that are written


def uplink_child(config: Config, state: Path, log: Log) -> Companion | None:
    """None if this device is in no fleet."""
    if not config.fleet.broker:
        return None
    job = UplinkJob(
        fleet=config.fleet,
        state=str(state),
        keys=config.answer.keys,
        revoked=config.answer.revoked,
        file=config.answer.file,
        runtime=config.answer.runtime,
        moved_to=tuple(sorted({name for folder in config.folder for name in (folder.done, folder.quarantine)})),
        log=config.log.level,
    )
    return Companion("uplink", "E-FLEET-ENDED", log, _PROGRAM, stdin=msgspec.json.encode(job))
