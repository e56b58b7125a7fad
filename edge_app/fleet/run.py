"""The process of a device's uplink, beside its service: service/uplink_child.py starts it."""

import sys
from pathlib import Path

import msgspec

from limiar.edge_app.errors import LimiarError
from limiar.edge_app.fleet.outbox import ControlService
from limiar.edge_app.health.log import Log
from limiar.edge_app.service.uplink_child import UplinkJob
from limiar.edge_app.system.clock import take_any_year
from limiar.edge_app.system.interrupt import Interrupt


def main() -> None:
    """Reads its job from stdin, and works until it is told to end."""
    take_any_year()
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=UplinkJob)
    log = Log(job.log)
    try:
        run(job, log)
    except LimiarError as error:
        log.error(error.code, error.message)
        ControlService(Path(job.state), log).tell(error.code, error.message)
        sys.exit(2)


def run(job: UplinkJob, log: Log) -> None:
    """Until SIGTERM. Raises LimiarError: it cannot begin."""
    try:
        from limiar.edge_app.fleet.job import made
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "limiar":
            raise
        met = f"[fleet] needs {error.name}, which is not installed"
        raise LimiarError("E-INSTALL-MISSING", f"{met}: pip install 'limiar[fleet]'") from None
    uplink = made(job, log)
    with Interrupt() as interrupt:
        uplink.run(lambda: bool(interrupt))
