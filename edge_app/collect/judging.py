"""Whether a roll-out goes on: what each of its devices makes of the bundle, and what follows from that. Pure functions."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Literal

import msgspec
from msgspec import Struct

from limiar.edge_app.errors import printable
from limiar.edge_app.fleet.messages import Desired, Pull

RollOutState = Literal["running", "halted", "done", "back"]
MemberState = Literal[
    "waiting",  # it has been told
    "absent",  # it was not heard from since
    "pulling",
    "installing",
    "trial",  # the bundle answers there, and is not good yet
    "good",
    "failed",  # it refused the bundle, or fell back from it
    "silent",  # it was heard from until it installed the bundle
    "out",  # it failed before a person resumed the roll-out, and is not asked again
    "going back",
    "back",
    "overtaken",  # a newer roll-out has come to it; in lists only
]
_ON_ITS_WAY = ("installing", "trial", "silent")  # a device that falls silent then may have done so because of the bundle
LEFT = "E-UPDATE-LEFT"  # a device says: it had this bundle, and went back


class RollOut(Struct, frozen=True, kw_only=True):
    """A row of `rollouts`."""

    id: int
    created: str
    bundle: str
    archive: str
    bytes: int
    counter: int
    name: str
    version: str
    group: str | None
    device: str | None
    shares: tuple[float, ...]  # percents, rising
    soak_s: float
    failures: int  # that are allowed
    drifting: int
    state: RollOutState
    step: int  # index of the present share
    attempt: int
    good_since: str | None
    why: str


class Known(Struct, frozen=True, kw_only=True):
    """A device, as the collector knows it."""

    name: str
    groups: tuple[str, ...] = ()
    present: bool  # it is connected, or was heard of a short while ago
    bundle: str | None = None
    on_trial: bool | None = None
    drift: int = 0  # statistics that drift
    pull: Pull | None = None


class Member(Struct, frozen=True, kw_only=True):
    """A row of `rollout_devices`: a device that has been given the bundle."""

    rollout: int
    device: str
    since: str
    state: MemberState = "waiting"
    code: str = ""
    message: str = ""


def targeted(rollout: RollOut, devices: Iterable[Known]) -> list[Known]:
    """The devices that it is for, in the order in which they get the bundle: chance, and the same for each look."""
    wanted = [
        one
        for one in devices
        if (rollout.device is None or one.name == rollout.device) and (rollout.group is None or rollout.group in one.groups)
    ]
    return sorted(wanted, key=lambda one: hashlib.sha256(f"{rollout.id} {one.name}".encode()).digest())


def looked_at(rollout: RollOut, member: Member, device: Known) -> Member:
    """How it stands with a device now."""
    if member.state == "good" and rollout.state == "done":
        return member  # what happens to it later is not about the roll-out
    pull = device.pull
    if pull and (pull.rollout, pull.attempt, pull.bundle) != (rollout.id, rollout.attempt, rollout.bundle):
        pull = None
    state, said = _state(rollout, member, device, pull), pull if pull and pull.code else None
    if state == "silent":
        return _with(member, state, "", "it has not been heard of since it installed the bundle")
    if state in ("failed", "out") and not said:
        return _with(member, state, member.code, member.message)
    return _with(member, state, said.code if said else "", said.message if said else "")


def _state(rollout: RollOut, member: Member, device: Known, pull: Pull | None) -> MemberState:
    there = device.bundle == rollout.bundle
    if rollout.state == "back":
        refused = pull is not None and pull.state == "refused"
        return "failed" if refused else "back" if pull and pull.state == "installed" else "going back"
    if there and device.on_trial is False:
        return "good"
    if pull and pull.state == "refused":
        return "failed"
    if member.state == "out":
        return "out"
    if not device.present and member.state in _ON_ITS_WAY:
        return "silent"
    if there:
        return "trial"
    if rollout.state == "halted" and member.state in ("failed", "silent"):
        return member.state  # it is asked nothing now, and so says nothing
    if not device.present:
        return "absent"
    if pull is None:
        return "waiting"
    return "installing" if pull.state in ("installing", "installed") else "pulling" if pull.state == "pulling" else "waiting"


def _with(member: Member, state: MemberState, code: str, message: str) -> Member:
    # A device may send anything, and PostgreSQL refuses NUL.
    return msgspec.structs.replace(member, state=state, code=printable(code)[:64], message=printable(message)[:500])


def reason_to_halt(rollout: RollOut, members: Iterable[Member], devices: Mapping[str, Known]) -> str:
    """Why a roll-out must not go on; empty if it may."""
    given = list(members)
    failed = [one for one in given if one.state in ("failed", "silent")]
    if len(failed) > rollout.failures:
        return f"{_listed(failed)}; {rollout.failures or 'none'} may fail"
    known = [(one, devices[one.device]) for one in given if one.device in devices]
    drifting = [one for one, device in known if device.bundle == rollout.bundle and device.drift]
    if rollout.state == "running" and len(drifting) > rollout.drifting:
        names = ", ".join(one.device for one in drifting[:5])
        return f"what {names} sees differs from the bundle's reference (W-DRIFT); {rollout.drifting or 'none'} may drift"
    return ""


def _listed(failed: Sequence[Member]) -> str:
    told = [f"{one.device}: {f'{one.code}: ' if one.code else ''}{one.message or one.state}" for one in failed[:3]]
    more = f", and {len(failed) - 3} more" if len(failed) > 3 else ""
    return "; ".join(told) + more


def wanted(rollout: RollOut, step: int, targets: int) -> int:
    """How many devices a share is."""
    return math.ceil(Fraction(str(rollout.shares[step])) * targets / 100)  # 0.07 * 100 is a little more than 7


def admitted(rollout: RollOut, targets: Sequence[Known], members: Mapping[str, Member]) -> list[str]:
    """The devices that get the bundle now: as many as the share has, not counting those that are away."""
    there = sum(one.state != "absent" for one in members.values())
    room = wanted(rollout, rollout.step, len(targets)) - there
    return [one.name for one in targets if one.name not in members and one.present][: max(0, room)]


def all_good(rollout: RollOut, targets: Sequence[Known], members: Iterable[Member]) -> bool:
    """Whether the present share is complete, and good on each of its devices but for those that may fail."""
    there = [one for one in members if one.state != "absent"]
    last = rollout.step == len(rollout.shares) - 1
    complete = last or len(there) >= wanted(rollout, rollout.step, len(targets))
    return (
        complete
        and any(one.state == "good" for one in there)
        and all(one.state in ("good", "failed", "silent", "out") for one in there)
    )


def after_soak(rollout: RollOut, now: str, targets: int) -> RollOut:
    """The roll-out, of which all are good now: its next share, once they have been for long enough."""
    if rollout.good_since is None:
        return msgspec.structs.replace(rollout, good_since=now)
    if seconds_between(rollout.good_since, now) < rollout.soak_s:
        return rollout
    before = wanted(rollout, rollout.step, targets)
    for step in range(rollout.step + 1, len(rollout.shares)):
        if wanted(rollout, step, targets) > before:  # a share that adds nobody needs no time of its own
            return msgspec.structs.replace(rollout, step=step, good_since=None)
    return msgspec.structs.replace(
        rollout, state="done", step=len(rollout.shares) - 1, why="good on every device that was there"
    )


def seconds_between(before: str, after: str) -> float:
    """Between two times as the tables have them."""
    return (datetime.fromisoformat(after) - datetime.fromisoformat(before)).total_seconds()


def desired_of(rollout: RollOut, member: Member) -> Desired | None:
    """What a device is told; None: to stay as it is."""
    if member.state == "out" or (rollout.state == "halted" and member.state not in ("trial", "good")):
        return None
    return Desired(
        rollout=rollout.id,
        bundle=rollout.bundle,
        archive=rollout.archive,
        bytes=rollout.bytes,
        counter=rollout.counter,
        name=rollout.name,
        version=rollout.version,
        action="back" if rollout.state == "back" else "install",
        attempt=rollout.attempt,
    )
