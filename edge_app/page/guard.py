"""What every request must pass, and what every answer says to the browser."""

import hmac
import ipaddress
import secrets
import socket
from urllib.parse import urlsplit

from flask import Flask, Response, abort, g, redirect, request, session, url_for
from werkzeug.wrappers import Response as AnyResponse

from limiar.edge_app.page.attempts import Attempts
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
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
attempts = Attempts()


class Untrusted(Exception):
    """A request that a form of this page did not make. `key`: of the words that say why."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def guard(app: Flask) -> None:
    """Puts the checks in front of every view."""
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
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and attempts.tried(_client(), lambda: here.site.access.opens(token.strip()))


def try_token(token: str) -> bool:
    """Whether it is the token; after many wrong ones from this client it is not looked at."""
    return attempts.tried(_client(), lambda: here.site.access.opens(token))


def wait_s() -> int:
    """How long this client's tokens are not looked at."""
    return attempts.wait_s(_client())


def _client() -> str:
    return request.remote_addr or ""


def _check_host() -> None:
    """A name that someone else's DNS lets lead here is refused (DNS rebinding); an IP address cannot be one."""
    found = urlsplit(f"//{request.headers.get('Host', '')}")
    try:
        name = (found.hostname or "").rstrip(".").lower()
        ipaddress.ip_address(name)
    except ValueError:
        if name not in _names():
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
    # Before the body is read. Browsers say where a request comes from; programs with the token do not.
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Untrusted("error.csrf")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("Host", "").lower():
        raise Untrusted("error.csrf")
    if here.read_only and request.endpoint not in _KEPT_READ_ONLY:
        raise Untrusted("error.read-only")
    if not hmac.compare_digest(request.form.get("csrf", "").encode(), csrf_token().encode()):
        raise Untrusted("error.csrf")


def _headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    if not g.get("cacheable", False):
        response.vary.add("Cookie")
    return response
