"""The live view: each source with its last answer, and the last answers of all."""

import hashlib

from flask import Blueprint, Response, abort, make_response, render_template, request

from limiar.edge_app.errors import StoreError
from limiar.edge_app.page.cards import cards
from limiar.edge_app.page.here import here
from limiar.edge_app.page.latest import Latest, latest

live = Blueprint("live", __name__)

_STRIP = 12  # answers
_SILENT_STEP_S = 10.0  # how long the service is silent is told anew so often
_LAST = 2**63 - 1  # of SQLite's integers


@live.get("/")
def show() -> str:
    """Everything."""
    here.site.pictures.warm()
    return render_template("live.html", view="live", **_values(_mark(), _LAST))


@live.get("/live")
def poll() -> Response:
    """The part that changes, with the answers after the ID `after` marked as new; 304 if it is as the browser has it."""
    after = request.args.get("after", str(_LAST))
    if not (after.isascii() and after.isdigit() and len(after) < 20):
        abort(400)
    mark = _mark()
    if mark in request.if_none_match:
        return Response(status=304)
    response = make_response(render_template("live_cards.html", view="live", **_values(mark, int(after))))
    response.set_etag(mark)
    return response


def _values(mark: str, after: int) -> dict[str, object]:
    """mark: from before the store is read, so that it is never newer than what is shown."""
    known, found = here.known(), _latest()
    return {
        "after": after,
        "mark": mark,
        "cards": cards(known, found.by_source),
        "strip": found.entries,
        "sequence": found.sequence,
    }


def _latest() -> Latest:
    sources = here.known().status.sources
    try:
        return latest(here.reader(), [(source.name, source.last_entry) for source in sources], _STRIP)
    except StoreError as error:
        if error.code == "E-STORE-MISSING":  # a device that has not answered anything
            return Latest()
        raise


def _mark() -> str:
    """What the view depends on, but for ages: cheap, since browsers ask for it twice a second."""
    known = here.known()
    try:
        sequence = here.reader().sequence
    except StoreError as error:
        if error.code != "E-STORE-MISSING":
            raise
        sequence = 0
    sources = [(one.name, one.state, one.code, one.message, one.queue) for one in known.status.sources]
    silent = None if known.silent_s is None else known.silent_s // _SILENT_STEP_S
    seen = (sequence, known.status.running, silent, here.language.code, sources)
    return hashlib.sha256(repr(seen).encode(errors="replace")).hexdigest()[:32]
