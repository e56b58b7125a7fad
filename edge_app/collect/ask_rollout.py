"""What a person asks of roll-outs: `limiar fleet`. It writes into the database, and the running collector does the rest."""

from collections import Counter
from pathlib import Path

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, and_, func, insert, select, update

from limiar.edge_app.bundle.signature import Keys
from limiar.edge_app.collect.bundles import put_bundle
from limiar.edge_app.collect.config import CollectConfig
from limiar.edge_app.collect.database import FleetDatabase, errors_named, reading
from limiar.edge_app.collect.judging import LEFT, Member, RollOut, RollOutState
from limiar.edge_app.collect.rollouts import newest_members, read_members, read_rollouts
from limiar.edge_app.collect.schema import DEVICES, ROLLOUT_DEVICES, ROLLOUTS
from limiar.edge_app.errors import BundleError, LimiarError, printable
from limiar.edge_app.system.clock import utc_now


class Terms(Struct, frozen=True, kw_only=True):
    """For whom a roll-out is, and how fast it goes."""

    group: str | None = None  # with `device`: neither is all
    device: str | None = None
    shares: tuple[float, ...] = (5.0, 25.0, 100.0)  # percents, rising to 100
    soak_s: float = 3600.0  # for which a share must be good before the next one
    failures: int = 0  # devices that may refuse the bundle, fall back from it, or fall silent with it
    drifting: int = 0  # devices with it whose images may differ from its reference


class RollOutFound(Struct, frozen=True, kw_only=True):
    """A roll-out and its devices."""

    rollout: RollOut
    devices: tuple[Member, ...]

    @property
    def counts(self) -> dict[str, int]:
        """State -> devices."""
        return dict(Counter(one.state for one in self.devices))


def begin_rollout(config: CollectConfig, source: Path, terms: Terms, keys: Keys | None = None) -> RollOut:
    """Puts a bundle where devices find it, and has the collector give it to them, a share after the other.

    Raises BundleError, OutputError, StoreError; LimiarError E-ROLLOUT-FOLDER and E-ROLLOUT-TARGET.
    """
    if not config.bundles.folder:
        met = "this fleet has no folder for bundles"
        raise LimiarError("E-ROLLOUT-FOLDER", f"{met}: give `folder` in [bundles], and have a web server serve it")
    with FleetDatabase(config.database.url) as database, errors_named(database.where):
        with reading(database) as connection:
            _check_target(connection, terms)
        put = put_bundle(Path(config.bundles.folder), source, keys)
        with database.engine.begin() as connection:
            _check_newer(connection, put.bundle, put.counter, f"{put.name} {put.version}")
            values = {
                **msgspec.structs.asdict(put),
                **msgspec.structs.asdict(terms),
                "shares": msgspec.json.encode(terms.shares).decode(),
                "created": utc_now(),
                "state": "running",
                "step": 0,
                "attempt": 0,
                "why": "",
            }
            made = connection.execute(insert(ROLLOUTS).values(values)).inserted_primary_key
            assert made
            return _one(connection, made[0])


def all_rollouts(config: CollectConfig) -> list[RollOutFound]:
    """All roll-outs, the newest first. Raises StoreError."""
    with FleetDatabase(config.database.url) as database, reading(database) as connection:
        newest = newest_members(connection)

        def shown(member: Member) -> Member:
            followed = newest[member.device].rollout == member.rollout
            return member if followed else msgspec.structs.replace(member, state="overtaken", code="", message="")

        return [
            RollOutFound(rollout=one, devices=tuple(map(shown, read_members(connection, one.id))))
            for one in reversed(read_rollouts(connection))
        ]


def halt(config: CollectConfig, number: int) -> RollOut:
    """No further device gets the bundle. Raises StoreError; LimiarError E-ROLLOUT-ID and E-ROLLOUT-STATE."""
    return _changed(config, number, ("running", "done"), "halted", "halted by a person")


def resume(config: CollectConfig, number: int) -> RollOut:
    """A halted roll-out goes on. What failed so far is forgiven: it is asked again, unless it fell back from the bundle.

    As many devices as warn of drift now may do so from then on.

    Raises as `halt`.
    """
    return _changed(config, number, ("halted",), "running", "resumed by a person")


def roll_back(config: CollectConfig, number: int) -> RollOut:
    """Every device that has the bundle goes back to the one before. Raises as `halt`."""
    return _changed(config, number, ("running", "halted", "done"), "back", "rolled back by a person")


def _changed(config: CollectConfig, number: int, old: tuple[RollOutState, ...], new: RollOutState, why: str) -> RollOut:
    with FleetDatabase(config.database.url) as database, errors_named(database.where), database.engine.begin() as connection:
        before = _one(connection, number)
        if before.state not in old:
            met = f"roll-out {number} is {before.state}"
            raise LimiarError("E-ROLLOUT-STATE", f"{met}: only one that is {' or '.join(old)} can be {_DONE[new]}")
        attempt = before.attempt + (new != "halted")  # so that what devices said until now is not taken for what comes of this
        values = {"state": new, "why": why, "attempt": attempt, "good_since": None}
        if new == "running":
            _forgive(connection, number)
            values["drifting"] = max(before.drifting, _drifting(connection, before))
        if new == "back":
            _check_followed(connection, number)
        connection.execute(update(ROLLOUTS).where(ROLLOUTS.c.id == number).values(values))
        return _one(connection, number)


_DONE = {"halted": "halted", "running": "resumed", "back": "rolled back"}


def _forgive(connection: Connection, number: int) -> None:
    columns = ROLLOUT_DEVICES.c
    failed = and_(columns.rollout == number, columns.state.in_(("failed", "silent")))
    connection.execute(update(ROLLOUT_DEVICES).where(failed, columns.code == LEFT).values(state="out"))
    connection.execute(update(ROLLOUT_DEVICES).where(failed, columns.code != LEFT).values(state="waiting", code="", message=""))


def _drifting(connection: Connection, rollout: RollOut) -> int:
    """Devices that it has come to and that warn of drift with its bundle."""
    members = select(ROLLOUT_DEVICES.c.device).where(ROLLOUT_DEVICES.c.rollout == rollout.id)
    drift = and_(DEVICES.c.name.in_(members), DEVICES.c.bundle == rollout.bundle, DEVICES.c.drift > 0)
    return connection.scalar(select(func.count()).where(drift)) or 0


def _check_followed(connection: Connection, number: int) -> None:
    """Devices follow the newest roll-out that has come to them."""
    newest = newest_members(connection)
    over = {newest[one.device].rollout for one in read_members(connection, number)}
    if over and number not in over:
        met = f"a newer roll-out has come to every device of roll-out {number}"
        raise LimiarError("E-ROLLOUT-STATE", f"{met}: roll back {', '.join(map(str, sorted(over)))}")


def _check_target(connection: Connection, terms: Terms) -> None:
    """A name that is written wrongly would wait for ever."""
    rows = connection.execute(select(DEVICES.c.name, DEVICES.c.groups)).all()
    if terms.device is not None and terms.device not in {name for name, _ in rows}:
        met = f"no device {printable(terms.device)} was ever seen"
        raise LimiarError("E-ROLLOUT-TARGET", f"{met}: see `limiar status --fleet` for the names")
    groups = {group for _, listed in rows for group in msgspec.json.decode(listed, type=tuple[str, ...])}
    if terms.group is not None and terms.group not in groups:
        met = f"no device of a group {printable(terms.group)} was ever seen"
        raise LimiarError("E-ROLLOUT-TARGET", f"{met}: the groups are {', '.join(sorted(groups)) or 'none'}")


def _check_newer(connection: Connection, bundle: str, counter: int, what: str) -> None:
    """Devices would refuse it, one after the other."""
    for one in read_rollouts(connection):
        if one.counter == counter and one.bundle != bundle:
            met = f"{what} has release counter {counter}, as the other bundle of roll-out {one.id}"
            raise BundleError("E-ROLLOUT-COUNTER", f"{met}: convert it again with a higher --release-counter")


def _one(connection: Connection, number: int) -> RollOut:
    found = next((one for one in read_rollouts(connection) if one.id == number), None)
    if found is None:
        raise LimiarError("E-ROLLOUT-ID", f"there is no roll-out {number}: see `limiar fleet roll-outs`")
    return found
