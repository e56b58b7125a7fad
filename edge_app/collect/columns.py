"""What a device sent, as columns of the database. A device may send anything: what a column cannot hold is refused here.

What is kept as JSON can be read again by everyone, whatever the device was: here, in `jq`, and as PostgreSQL's jsonb.
"""

import re
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from limiar.edge_app.fleet.messages import LINE, DeviceStatus, Row, UplinkState
from limiar.edge_app.health.status import BundleStatus, Status

_INTEGER = 1 << 62  # a column's; a device has fewer of anything
_LONGEST = 1 << 20  # bytes of a line or a status, of which a device has some thousand; 8 MB were read again in each second
_DEEPEST = 40  # levels of JSON; a device has 6. What can just be read here may be too deep where it is read again.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", re.ASCII)  # fromisoformat takes more than PostgreSQL
_READING = (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError)  # what JSON of any kind can lead to


class WrongMessage(Exception):
    """A message that no device of ours sends. `device`: the name in its topic; "" if it has none."""

    def __init__(self, device: str, met: str) -> None:
        super().__init__(met)
        self.device, self.met = device, met


class _Sent(Struct):
    """The two parts of a status as they came: a newer device may say more than this program knows."""

    status: Raw
    fleet: Raw


_SENT = msgspec.json.Decoder(_Sent)
_STATUS = msgspec.json.Decoder(DeviceStatus)


def row_columns(device: str, row: Row, received: str) -> dict[str, Any]:
    """Of an entry, without its store. Raises WrongMessage."""
    shared = {
        "device": device,
        "sequence": row.sequence,
        "mark": row.mark,
        "key": row.key,
        "kind": row.kind,
        "entry": row.entry,
        "received": received,
    }
    try:
        said = _review_columns(device, row, received) if row.kind == "review" else _answer_columns(row, received)
    except _READING as error:
        raise WrongMessage(device, f"up/rows: {row.kind} {row.key}: {error}") from None
    return shared | said


def _answer_columns(row: Row, received: str) -> dict[str, Any]:
    text = kept_json(row.line)
    line = LINE.decode(text)
    return {
        "time": utc(line.time, received),
        "decision": line.decision,
        "label": line.label,
        "confidence": line.confidence,
        "source": line.source,
        "bundle": line.bundle,
        "sha256": line.sha256,
        "of": None,
        "takes_back": None,
        "line": text,
    }


def _review_columns(device: str, row: Row, received: str) -> dict[str, Any]:
    if row.review is None:
        raise WrongMessage(device, f"up/rows: the review {row.key} says nothing")
    return {
        "time": utc(row.review.time, received),
        "decision": None,
        "label": plain(row.review.label),
        "confidence": None,
        "source": None,
        "bundle": None,
        "sha256": None,
        "of": row.review.of,
        "takes_back": row.review.takes_back,
        "line": kept_json(msgspec.json.encode(row.review)),
    }


def device_columns(device: str, payload: bytes) -> dict[str, Any]:
    """Of a status. Raises WrongMessage."""
    try:
        sent = _SENT.decode(payload)
        status, fleet = kept_json(sent.status), kept_json(sent.fleet)
        known = _STATUS.decode(payload)
    except _READING as error:
        raise WrongMessage(device, f"up/status: {error}") from None
    groups = msgspec.json.encode(known.fleet.groups).decode()
    return {"status": status, "fleet": fleet, "groups": groups, **_figures(known.status, known.fleet)}


def _figures(status: Status, fleet: UplinkState) -> dict[str, Any]:
    return {
        **_bundle(status.bundle),
        "app": plain(status.app),
        "answered": _small(status.totals.answered),
        "refer_rate": status.totals.refer_rate_window,
        "drift": len(status.drift),
        "failures": sum(problem.level == "failed" for problem in status.problems),
        "disk_free": _small(status.disk.free_bytes) if status.disk else None,
        "clock_trusted": status.clock.trusted,
        "waiting": fleet.waiting,
    }


def _bundle(bundle: BundleStatus | None) -> dict[str, Any]:
    if bundle is None:
        return dict.fromkeys(("bundle", "bundle_name", "counter", "on_trial", "verified"))
    return {
        "bundle": plain(bundle.sha256),
        "bundle_name": plain(f"{bundle.name} {bundle.version}"),
        "counter": _small(bundle.counter),
        "on_trial": bundle.on_trial,
        "verified": plain(bundle.verified),
    }


def kept_json(sent: bytes | Raw) -> str:
    """JSON as it is kept. Raises _READING."""
    if (size := len(bytes(sent))) > _LONGEST:
        raise OverflowError(f"it has {size} bytes; {_LONGEST} are the limit")
    return msgspec.json.encode(_kept(msgspec.json.decode(sent), 0)).decode()


def _kept(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise RecursionError(f"it is more than {_DEEPEST} levels deep")
    if isinstance(value, dict):
        return {plain(name): _kept(one, depth + 1) for name, one in value.items()}
    if isinstance(value, list):
        return [_kept(one, depth + 1) for one in value]
    return plain(value) if isinstance(value, str) else value


def utc(text: str, otherwise: str) -> str:
    """A time of ours, unchanged; otherwise the other one: a query over all devices must not fail at one time."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return otherwise
    return text if _TIME.fullmatch(text) else otherwise


def plain(text: str | None) -> str | None:
    """Text for a column: PostgreSQL has no NUL. Nothing of a device's own has one."""
    return None if text is None else text.replace("\0", "\\x00")


def _small(number: int) -> int | None:
    return number if abs(number) < _INTEGER else None
