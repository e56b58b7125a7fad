"""What a device sent, as columns of the database. A device may send anything: what a column cannot hold is refused here."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from limiar.edge_app.fleet.messages import LINE, DeviceStatus, Row, UplinkState
from limiar.edge_app.health.status import BundleStatus, Status
from limiar.edge_app.results.lines import ResultLine

_INTEGER = 1 << 62  # a column's; a device has fewer of anything


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
    if row.kind == "review":
        return shared | _review_columns(device, row, received)
    try:
        text, line = bytes(row.line).decode(), LINE.decode(row.line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WrongMessage(device, f"up/rows: the line of {row.key}: {error}") from None
    return shared | _answer_columns(line, text, received)


def _answer_columns(line: ResultLine, text: str, received: str) -> dict[str, Any]:
    return {
        "time": utc(line.time, received),
        "decision": plain(line.decision),
        "label": plain(line.label),
        "confidence": line.confidence,
        "source": plain(line.source),
        "bundle": plain(line.bundle),
        "sha256": plain(line.sha256),
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
        "line": msgspec.json.encode(row.review).decode(),
    }


def device_columns(device: str, payload: bytes) -> dict[str, Any]:
    """Of a status. Raises WrongMessage."""
    try:
        sent, known = _SENT.decode(payload), _STATUS.decode(payload)
        status, fleet = bytes(sent.status).decode(), bytes(sent.fleet).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
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


def utc(text: str, otherwise: str) -> str:
    """A time of ours, unchanged; otherwise the other one: a query over all devices must not fail at one time."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return otherwise
    return text if text.endswith("Z") and text[:4].isascii() and text[:4].isdecimal() and found.tzinfo else otherwise


def plain(text: str | None) -> str | None:
    """Text for a column: PostgreSQL has no NUL. Nothing of a device's own has one."""
    return None if text is None else text.replace("\0", "\\x00")


def _small(number: int) -> int | None:
    return number if abs(number) < _INTEGER else None
