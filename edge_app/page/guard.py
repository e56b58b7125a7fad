"""What every request must pass, and what every answer says to the browser."""

import hmac
import ipaddress
import re
import secrets
import socket

from flask import Flask, Response, abort, g, redirect, request, session, url_for
from werkzeug.wrappers import Response as AnyResponse

from limiar.edge_app.page.attempts import Attempts
from limiar.edge_app.page.for_phones import POLICY as PHONES_POLICY
from limiar.edge_app.page.here import here

OPEN = frozenset({"session.healthz", "session.login", "session.enter", "session.language", "static"})  # without the token
_KEPT_READ_ONLY = frozenset({"session.enter", "session.leave", "session.language"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src 'self'",
        "style-src 'self'",
        "script-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send forms with "Origin: null"
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_FOR_PHONES = {
    "Content-Security-Policy": f"{PHONES_POLICY}; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=(), payment=(), usb=()",
}
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?\Z")
_WHOLE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(//)?(?P<host>[^/?#]*)")
attempts = Attempts()


class Untrusted(Exception):
    """A request that a form of this page did not make. `key`: of the words that say why."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def guard(app: Flask) -> None:
    """Puts the checks in front of every view."""
    app.before_request(_check_secrets)
    app.before_request(_check_host)
    app.before_request(_check_token)
    app.before_request(_check_change)
    app.after_request(_headers)


def csrf_token() -> str:
    """What a form of this session must send back."""
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(18)
    return str(session["csrf"])


def enter() -> None:
    """From here on this browser has given the token."""
    session.clear()
    session.permanent = True
    session["in"] = True


def entered() -> bool:
    """Whether this request may see what the page shows."""
    if not here.settings.asks_token or session.get("in"):  # signed with a secret that a new token replaces
        return True
    if "bearer" not in g:  # one request is one attempt
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        g.bearer = scheme.lower() == "bearer" and try_token(token.strip())
    return bool(g.bearer)


def for_phones() -> None:
    """This answer is a part of the page for phones."""
    g.headers = _FOR_PHONES


def try_token(token: str) -> bool:
    """Whether it is the token; after many wrong ones from this client it is not looked at."""
    return attempts.tried(_client(), lambda: here.site.access.opens(token))


def wait_s() -> int:
    """How long this client's tokens are not looked at."""
    return attempts.wait_s(_client())


def _client() -> str:
    return network_of(request.remote_addr or "")


def network_of(address: str) -> str:
    """What one client has: an IPv4 address, also where IPv6 listens for both; with IPv6, the 2**64 addresses of a household."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if found.version == 6:
        return str(found.ipv4_mapped or ipaddress.ip_network((int(found), 64), strict=False))
    return str(found)


def known_host() -> bool:
    """Whether the request names this device: any name that someone else's DNS lets lead here does not (DNS rebinding)."""
    host = request.headers.get("Host", "")
    found = _HOST.match(host)
    whole = _WHOLE.match(request.environ.get("REQUEST_URI", ""))  # "GET http://host/": what it names has precedence
    if not found or (whole and whole["host"] != host):
        return False
    name = found["name"].lower()
    try:
        ipaddress.ip_address(name.strip("[]"))  # which cannot be such a name
    except ValueError:
        return name in _names()
    return True


def from_elsewhere() -> bool:
    """Whether the browser says that a page of someone else makes this request. Programs say nothing of it."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2].lower() != request.headers.get("Host", "").lower()


def _check_secrets() -> None:
    """Raises LimiarError E-PAGE-ACCESS."""
    _ = here.site.access.kept


def _check_host() -> None:
    if not known_host():
        abort(421)


def _names() -> frozenset[str]:
    own = socket.gethostname().lower()
    return frozenset({"localhost", own, f"{own.partition('.')[0]}.local", *map(str.lower, here.settings.hosts)})


def _check_token() -> AnyResponse | None:
    if request.endpoint in OPEN or entered():
        return None
    if request.method in _SAFE and request.accept_mimetypes.accept_html and "Authorization" not in request.headers:
        return redirect(url_for("session.login"), 303)
    return Response(status=401, headers={"WWW-Authenticate": "Bearer"})


def _check_change() -> None:
    if request.method in _SAFE:
        return
    if from_elsewhere():  # before the body is read
        raise Untrusted("error.csrf")
    if here.read_only and request.endpoint not in _KEPT_READ_ONLY:
        raise Untrusted("error.read-only")
    if not hmac.compare_digest(request.form.get("csrf", "").encode(), csrf_token().encode()):
        raise Untrusted("error.csrf")


def _headers(response: Response) -> Response:
    for name, value in (_HEADERS | g.get("headers", {})).items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    if not g.get("cacheable", False):
        response.vary.add("Cookie")
    return response
