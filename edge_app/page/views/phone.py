"""The page for phones: what answers on this device, on the phone itself. A browser takes it over https, or on this machine."""

import ipaddress
from pathlib import Path

from flask import Blueprint, Response, abort, make_response, render_template, request, send_from_directory

from limiar.edge_app.page import guard
from limiar.edge_app.page.for_phones import media_type
from limiar.edge_app.page.here import here

phone = Blueprint("phone", __name__)
_LOOK_S = 2  # a browser that waits for a page asks again


@phone.get("/phone/")
def show() -> Response:
    """The page, or why there is none."""
    if not _is_secure():
        return make_response(render_template("phone.html", view="phone", why="http"))
    if here.known().status.bundle is None:
        return make_response(render_template("phone.html", view="phone", why="none"))
    folder = _folder()
    if folder is None:
        waiting = make_response(render_template("phone.html", view="phone", why="making"))
        waiting.headers["Refresh"] = str(_LOOK_S)
        return waiting
    return _sent(folder, "index.html")


@phone.get("/phone/<path:name>")
def part(name: str) -> Response:
    """A part of it."""
    folder = _folder() if _is_secure() and here.known().status.bundle else None
    return _sent(folder, name) if folder else abort(404)


def _folder() -> Path | None:
    """Raises LimiarError."""
    bundle = here.known().status.bundle
    return here.site.phones.page_of(bundle.folder, bundle.sha256) if bundle else None


def _sent(folder: Path, name: str) -> Response:
    guard.for_phones()
    sent = send_from_directory(folder, name, mimetype=media_type(name))
    sent.cache_control.private = sent.cache_control.no_cache = True  # a browser asks whether it is still the same
    return sent


def _is_secure() -> bool:
    """Whether browsers give the page its hashes, camera and offline copy: W3C, Secure Contexts, section 3.1."""
    if here.settings.certificate is not None:
        return True
    name = request.host.rpartition(":")[0] if request.host[-1:].isdigit() and ":" in request.host else request.host
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost"
