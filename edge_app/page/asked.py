"""The filters of an address, `?decision=refer&reviewed=no`, and the addresses that change one of them."""

import datetime
import re
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec
from flask import request, url_for
from msgspec import Struct
from werkzeug.exceptions import BadRequest

from limiar.edge_app.store.reader import Filter, Kind

NAMES = ("decision", "label", "source", "kind", "reviewed", "from", "to", "since")
_KINDS: tuple[Kind, ...] = ("file", "frame", "refusal")
_SINCE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?Z?)?\Z", re.ASCII)
_LONGEST = 4096  # characters of a value
_ID = re.compile(r"[0-9]{1,18}\Z", re.ASCII)


class Asked(Struct, frozen=True):
    """What an address asks for."""

    values: dict[str, str]  # of NAMES, those that are given
    which: Filter

    def address(self, endpoint: str, **changed: str | int | None) -> str:
        """The address of a view with these filters, some of them changed; None takes one away."""
        values = {**self.values, **changed}
        query = urlencode({name: value for name, value in values.items() if value is not None and value != ""})
        return url_for(endpoint) + (f"?{query}" if query else "")

    def older_than(self, entry: int | None) -> Filter:
        """The same filter for entries with a lower ID; None: for all."""
        return msgspec.structs.replace(self.which, before=entry)

    def newer_than(self, entry: int) -> Filter:
        """The same filter for entries with a higher ID."""
        return msgspec.structs.replace(self.which, after=entry)


def asked() -> Asked:
    """The filters of this request. Raises BadRequest if one cannot be understood."""
    values = {name: request.args[name] for name in NAMES if request.args.get(name)}
    if any(len(value) > _LONGEST for value in values.values()):
        raise BadRequest
    return Asked(values, _filter(values))


def number_asked(name: str) -> int | None:
    """An ID of this request's address; None if it is not given. Raises BadRequest."""
    text = request.args.get(name)
    if not text:
        return None
    if not _ID.match(text):
        raise BadRequest
    return int(text)


def _filter(values: Mapping[str, str]) -> Filter:
    kind, reviewed, since = (values.get(name) for name in ("kind", "reviewed", "since"))
    if kind not in (None, *_KINDS) or reviewed not in (None, "yes", "no") or (since and not _SINCE.match(since)):
        raise BadRequest
    confidence = None
    if "from" in values or "to" in values:
        confidence = (_share(values.get("from", "0")), _share(values.get("to", "1")))
    return Filter(
        since=since,
        kinds=(kind,) if kind else _KINDS,
        decision=values.get("decision"),
        label=values.get("label"),
        source=values.get("source"),
        confidence=confidence,
        reviewed=None if reviewed is None else reviewed == "yes",
    )


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        raise BadRequest from None
    if not 0 <= share <= 1:  # nan is refused too
        raise BadRequest
    return share


def midnight(days: int) -> str:
    """The instant at which the local day of so many days ago began, as the store writes it."""
    today = datetime.datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    begun = (today - datetime.timedelta(days=days)).astimezone(datetime.UTC)
    return f"{begun:%Y-%m-%dT%H:%M}"
