"""The bundle that answers: its card, the gate, the slots; and another one installed, or the one before again."""

import threading
from collections.abc import Callable
from pathlib import Path

from flask import Blueprint, abort, flash, redirect, render_template, request, session, url_for
from msgspec import Struct
from werkzeug.wrappers import Response as AnyResponse

from limiar.edge_app.errors import LimiarError
from limiar.edge_app.install.slots import Slots, SlotsStatus, SlotStatus
from limiar.edge_app.page import installs
from limiar.edge_app.page.card import Card, read_card
from limiar.edge_app.page.here import here
from limiar.edge_app.page.uploads import PATH, most_bytes

bundle = Blueprint("bundle", __name__)
_REFUSED = "refused"  # in the session: code and message of what was not done, until the view has said so


class _Kept(Struct):
    """The last card that was read: a report has 220,000 bytes, and a bundle does not change."""

    folder: str = ""
    card: Card | None = None


_kept, _lock = _Kept(), threading.Lock()


@bundle.get("/bundle")
def show() -> str:
    """Everything."""
    slots = _slots()
    running = here.known().status.bundle
    card = _card(running.folder, running.sha256) if running else None
    configured = running is not None and running.slot is None
    other = _other(slots)
    return render_template(
        "bundle.html",
        view="bundle",
        running=running,
        card=card,
        slots=slots,
        slot=next((slot for slot in slots.slots if running and slot.bundle == running.sha256), None),
        changing=running and slots.current and not configured and running.sha256 != slots.current.bundle,
        can_go_back=other is not None and other.good,
        configured=configured,
        keys=len(installs.trusted(here.settings)),
        most=most_bytes(here.settings.state),
        refused=session.pop(_REFUSED, None),
    )


@bundle.post(PATH)
def install() -> AnyResponse:
    """Installs what was uploaded."""
    file = request.files.get("file")
    if file is None or not file.filename:
        abort(400)
    stream, name = file.stream, file.filename
    return _done("bundle.installed", lambda: installs.install(here.settings, stream, name))


@bundle.get("/bundle/roll-back")
def ask_roll_back() -> str:
    """Asks whether it is meant."""
    if here.read_only:
        abort(403)
    slots = _slots()
    return render_template("roll_back.html", view="bundle", slots=slots, other=_other(slots))


@bundle.post("/bundle/roll-back")
def roll_back() -> AnyResponse:
    """Goes back to the bundle before."""
    return _done("bundle.back", lambda: installs.roll_back(here.settings.state))


def _done(key: str, change: Callable[[], installs.Outcome]) -> AnyResponse:
    """Makes a change, and leads to the view, which then says how it went. key: of the words for success."""
    try:
        done = change()
    except LimiarError as error:
        session[_REFUSED] = (error.code, error.message)
    else:
        key = "bundle.same" if done.already else key
        flash(here.language.words(key, name=done.name, version=done.version), "good")
        here.site.statuses.ask()
    return redirect(url_for("bundle.show"), 303)


def _slots() -> SlotsStatus:
    return Slots(here.settings.state).status()


def _other(slots: SlotsStatus) -> SlotStatus | None:
    return next((slot for slot in slots.slots if not slot.current), None)


def _card(folder: str, sha256: str) -> Card | None:
    with _lock:
        if (_kept.folder, _kept.card and _kept.card.sha256) != (folder, sha256):
            _kept.folder, _kept.card = folder, read_card(Path(folder), sha256)
        return _kept.card
