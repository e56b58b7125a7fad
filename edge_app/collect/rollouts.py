"""Roll-outs, as the running collector turns them: who is told which bundle, and whether that goes on.

A device follows the newest roll-out that has come to it. A share of the devices gets the bundle, in an order of chance; the
next share once it is good on all of them and has been for the soak time. What fails more often than allowed halts it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, RowMapping, and_, func, insert, select, update

from limiar.edge_app.collect.judging import (
    Known,
    Member,
    RollOut,
    admitted,
    after_soak,
    all_good,
    desired_of,
    looked_at,
    reason_to_halt,
    seconds_between,
    targeted,
)
from limiar.edge_app.collect.schema import DEVICES, ROLLOUT_DEVICES, ROLLOUTS
from limiar.edge_app.fleet.messages import Desired, Pull
from limiar.edge_app.health.log import Log
from limiar.edge_app.system.clock import utc_now

HEARD_S = 10.0  # of listening, after which what the broker keeps of the devices has come
SILENT_S = 600.0  # a device that was not heard of for so long is away; a reboot takes one or two minutes


class _Fleet(Struct, frozen=True):
    """Of UplinkState."""

    desired: Pull | None = None


_FLEET = msgspec.json.Decoder(_Fleet)
_NAMES = msgspec.json.Decoder(tuple[str, ...])


class RollOuts:
    """All roll-outs of a database. `turn` within a transaction; once that is committed and published, `told`."""

    def __init__(self, log: Log, silent_s: float = SILENT_S, now: Callable[[], str] = utc_now) -> None:
        self._log, self._silent_s, self._now = log, silent_s, now
        self._told: dict[str, Desired | None] = {}
        self._listening: str | None = None  # since when devices can be heard

    def turn(self, connection: Connection) -> dict[str, Desired | None]:
        """What devices are to be told and were not yet; None: that nothing is desired. Raises SQLAlchemyError."""
        now = self._now()
        self._listening = self._listening or now
        silent = seconds_between(self._listening, now) >= self._silent_s
        rollouts = read_rollouts(connection)
        devices = {one.name: one for one in self._devices(connection, now, silent)} if rollouts else {}
        members = newest_members(connection) if rollouts else {}
        for rollout in reversed(rollouts):  # the newest one first
            if rollout.state == "running" or any(one.rollout == rollout.id for one in members.values()):
                self._one(connection, rollout, devices, members, now)
        states = {one.id: one for one in read_rollouts(connection)} if rollouts else {}
        desired = {name: desired_of(states[one.rollout], one) for name, one in members.items() if one.rollout in states}
        for name in connection.scalars(select(DEVICES.c.name)):
            desired.setdefault(name, None)
        return {name: one for name, one in desired.items() if name not in self._told or self._told[name] != one}

    def told(self, changed: dict[str, Desired | None]) -> None:
        """These were committed and published."""
        self._told |= changed

    def forget(self) -> None:
        """Nobody knows what devices were told, as after a new connection to the broker: the next turn gives all of it."""
        self._told.clear()
        self._listening = None

    def _devices(self, connection: Connection, now: str, silent: bool) -> Iterator[Known]:
        """silent: whether we have listened for long enough to call a device that, beside what the broker says."""
        columns = ("name", "groups", "online", "last_seen", "bundle", "on_trial", "drift", "fleet")
        for row in connection.execute(select(*(DEVICES.c[name] for name in columns))).mappings():
            yield Known(
                name=row["name"],
                groups=_NAMES.decode(row["groups"]),
                present=row["online"] or not silent or seconds_between(row["last_seen"], now) < self._silent_s,
                bundle=row["bundle"],
                on_trial=row["on_trial"],
                drift=row["drift"] or 0,
                pull=_pull(row["fleet"]),
            )

    def _one(
        self, connection: Connection, rollout: RollOut, devices: dict[str, Known], members: dict[str, Member], now: str
    ) -> None:
        """Turns one roll-out; `members` then has what it changed."""
        mine = {name: one for name, one in members.items() if one.rollout == rollout.id}
        for name, member in mine.items():
            if name in devices and (found := looked_at(rollout, member, devices[name])) != member:
                _keep_member(connection, found)
                mine[name] = found
        after = self._decided(rollout, devices, mine, members, now)
        if after.state in ("running", "done"):
            for name in admitted(after, self._free(after, devices, members), mine):
                mine[name] = Member(rollout=rollout.id, device=name, since=now)
                connection.execute(insert(ROLLOUT_DEVICES).values(msgspec.structs.asdict(mine[name])))
        members |= mine
        if after != rollout:
            _keep_rollout(connection, rollout, after)
            if after.state != rollout.state:
                write = self._log.error if after.state == "halted" else self._log.info
                code = "E-ROLLOUT-HALTED" if after.state == "halted" else "I-ROLLOUT"
                write(code, f"roll-out {after.id} of {after.name} {after.version} is {after.state}: {after.why}")

    def _decided(
        self, rollout: RollOut, devices: dict[str, Known], mine: dict[str, Member], members: dict[str, Member], now: str
    ) -> RollOut:
        if rollout.state not in ("running", "done"):
            return rollout
        if why := reason_to_halt(rollout, mine.values(), devices):
            return msgspec.structs.replace(rollout, state="halted", good_since=None, why=why)
        if rollout.state == "done":
            return rollout
        targets = self._free(rollout, devices, members)
        if all_good(rollout, targets, mine.values()):
            if seconds_between(self._listening or now, now) < HEARD_S:
                return rollout  # one that failed while nobody listened may not have been heard yet
            return after_soak(rollout, now, len(targets))
        return msgspec.structs.replace(rollout, good_since=None)

    def _free(self, rollout: RollOut, devices: dict[str, Known], members: dict[str, Member]) -> list[Known]:
        """The devices that it is for, without those to which a newer one has come, and those that are away and have nothing."""

        def free(device: Known) -> bool:
            member = members.get(device.name)
            if member is None or member.rollout < rollout.id:
                return device.present
            return member.rollout == rollout.id and (device.present or member.state != "absent")

        return targeted(rollout, filter(free, devices.values()))


def read_rollouts(connection: Connection) -> list[RollOut]:
    """All of them, in the order in which they began. Raises SQLAlchemyError."""
    rows = connection.execute(select(ROLLOUTS).order_by(ROLLOUTS.c.id)).mappings()
    return [msgspec.convert(_plain(row) | {"shares": msgspec.json.decode(row["shares"])}, RollOut) for row in rows]


def read_members(connection: Connection, rollout: int) -> list[Member]:
    """The devices of one, by name. Raises SQLAlchemyError."""
    asked = select(ROLLOUT_DEVICES).where(ROLLOUT_DEVICES.c.rollout == rollout).order_by(ROLLOUT_DEVICES.c.device)
    return [msgspec.convert(_plain(row), Member) for row in connection.execute(asked).mappings()]


def _plain(row: RowMapping) -> dict[str, Any]:
    return {str(name): value for name, value in row.items()}  # SQLAlchemy's names are a kind of str that msgspec refuses


def newest_members(connection: Connection) -> dict[str, Member]:
    """Of each device, the newest roll-out that has come to it. Raises SQLAlchemyError."""
    by = ROLLOUT_DEVICES.c.device
    newest = select(by, func.max(ROLLOUT_DEVICES.c.rollout).label("rollout")).group_by(by).subquery()
    same = and_(by == newest.c.device, ROLLOUT_DEVICES.c.rollout == newest.c.rollout)
    rows = connection.execute(select(ROLLOUT_DEVICES).join(newest, same)).mappings()
    return {row["device"]: msgspec.convert(_plain(row), Member) for row in rows}


def _pull(fleet: str | None) -> Pull | None:
    try:
        return _FLEET.decode(fleet).desired if fleet else None
    except msgspec.MsgspecError:  # of a later limiar
        return None


def _keep_member(connection: Connection, member: Member) -> None:
    columns = ROLLOUT_DEVICES.c
    of = and_(columns.rollout == member.rollout, columns.device == member.device)
    values: dict[str, Any] = {"state": member.state, "code": member.code, "message": member.message}
    connection.execute(update(ROLLOUT_DEVICES).where(of).values(values))


def _keep_rollout(connection: Connection, before: RollOut, after: RollOut) -> None:
    """Unless a person has changed it meanwhile."""
    columns = ROLLOUTS.c
    same = and_(columns.id == before.id, columns.state == before.state, columns.attempt == before.attempt)
    values = {"state": after.state, "step": after.step, "good_since": after.good_since, "why": after.why}
    connection.execute(update(ROLLOUTS).where(same).values(values))
