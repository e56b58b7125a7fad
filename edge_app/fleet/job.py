"""The uplink that a configuration asks for."""

import functools
import time
from pathlib import Path

from limiar.edge_app.errors import LimiarError
from limiar.edge_app.fleet.desired import Pulling
from limiar.edge_app.fleet.outbox import ControlService, StoreOutbox, pictures
from limiar.edge_app.fleet.tls import check_time, client_context, common_name
from limiar.edge_app.fleet.topics import NAME
from limiar.edge_app.fleet.uplink import Uplink
from limiar.edge_app.health.log import Log
from limiar.edge_app.service.config import FleetSection
from limiar.edge_app.service.uplink_child import UplinkJob
from limiar.edge_app.store.state import DATABASE

_MEGABYTE = 1_000_000


def made(job: UplinkJob, log: Log) -> Uplink:
    """The uplink of a job. Raises LimiarError E-FLEET-CERTIFICATE, E-FLEET-NAME."""
    fleet, state = job.fleet, Path(job.state)
    context = functools.partial(client_context, fleet.authority, fleet.certificate, fleet.key) if fleet.certificate else None
    if context:
        context()  # what is wrong with its files is said at once
    picture = pictures(state, job.moved_to, fleet.images, int(fleet.image_megabytes * _MEGABYTE))
    outbox = StoreOutbox(state / DATABASE, paths=fleet.paths, picture=picture)
    service, pulls = ControlService(state, log), Pulling(job, log)
    return Uplink(fleet, device_name(fleet), outbox, service, log, context=context, pulls=pulls, tell=service.tell)


def device_name(fleet: FleetSection) -> str:
    """The name under which the broker knows this device. Raises LimiarError E-FLEET-CERTIFICATE, E-FLEET-NAME."""
    if not fleet.certificate:
        return fleet.device
    name = common_name(fleet.certificate)
    if fleet.device not in ("", name):
        met = f"`device` is {fleet.device}, and the certificate is of {name}"
        raise LimiarError("E-FLEET-NAME", f"{met}: leave out `device`, or give this device its own certificate")
    if not NAME.fullmatch(name):
        met = f"the certificate's common name {name} cannot be the name of a device"
        raise LimiarError("E-FLEET-NAME", f"{met}: use up to 63 letters, digits, dashes and underscores")
    return name


def check_fleet(fleet: FleetSection) -> None:
    """Whether its files can be used today. Raises LimiarError E-FLEET-CERTIFICATE, E-FLEET-NAME."""
    device_name(fleet)
    if fleet.certificate:
        client_context(fleet.authority, fleet.certificate, fleet.key)
        check_time(fleet.certificate, time.time())
