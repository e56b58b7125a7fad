"""How the devices of a fleet are: `limiar status --fleet`."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct
from sqlalchemy import RowMapping, select

from limiar.edge_app.collect.config import StatusSection, read_config
from limiar.edge_app.collect.database import FleetDatabase, reading
from limiar.edge_app.collect.schema import DEVICES

DeviceState = Literal["ok", "failed", "silent", "gone"]

_GROUPS = msgspec.json.Decoder(tuple[str, ...])


class FleetDevice(Struct, frozen=True, kw_only=True):
    """A device. None: it has not said."""

    name: str
    state: DeviceState  # failed: something on it does not work. gone: silent, as it is to be by collect.toml
    first_seen: str  # UTC, by the collector's clock
    last_seen: str
    age_s: float  # since it was last seen
    online: bool  # connected to the broker, as that last said
    groups: tuple[str, ...]
    app: str | None
    bundle: str | None  # "lung 1.2"
    bundle_sha256: str | None
    on_trial: bool | None
    verified: str | None  # "bundle" or "device"
    answered: int | None  # since its service started
    refer_rate: float | None  # 0..1, of its last answers
    drift: int | None  # statistics that drift
    failures: int | None  # what does not work on it
    disk_free: int | None  # bytes
    clock_trusted: bool | None
    waiting: int | None  # rows that it still keeps for the collector
    status: Raw  # all of `limiar status --json`, or null
    fleet: Raw  # how its uplink is, or null


class FleetDevices(Struct, frozen=True, kw_only=True):
    """What `limiar status --fleet --json` prints."""

    schema: int = 1
    devices: tuple[FleetDevice, ...]


def fleet_devices(config: Path, now: Callable[[], float]) -> Iterator[FleetDevice]:
    """All devices by name. now: seconds since 1970. Raises LimiarError."""
    settings = read_config(config)
    with FleetDatabase(settings.database.url) as database, reading(database) as connection:
        for row in connection.execute(select(DEVICES).order_by(DEVICES.c.name)).mappings():
            yield _device(row, now(), settings.status)


def _device(row: RowMapping, now_s: float, settings: StatusSection) -> FleetDevice:
    age_s = max(0.0, now_s - seconds(row["last_seen"]))
    state: DeviceState = "failed" if row["failures"] else "ok"
    if age_s >= settings.silent_s:
        state = "gone" if row["name"] in settings.gone else "silent"
    named: dict[str, Any] = {name: row[name] for name in FleetDevice.__struct_fields__ if name in row}
    named |= {
        "state": state,
        "age_s": round(age_s, 3),
        "groups": _GROUPS.decode(row["groups"]),
        "bundle": row["bundle_name"],
        "bundle_sha256": row["bundle"],
    }
    for name in ("status", "fleet"):
        named[name] = Raw((row[name] or "null").encode())
    return FleetDevice(**named)


def seconds(time: str) -> float:
    """A time of the collector's clock, which system/clock.py writes, as seconds since 1970."""
    return datetime.fromisoformat(time).astimezone(UTC).timestamp()
