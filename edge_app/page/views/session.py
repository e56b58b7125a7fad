"""Signing in and out, the language, and whether the page is there."""

from flask import Blueprint, Response, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response as AnyResponse

from limiar.edge_app.health.status import failed
from limiar.edge_app.page import guard
from limiar.edge_app.page.here import LANGUAGE_COOKIE, here
from limiar.edge_app.page.language import CODES
from limiar.edge_app.page.place import back

# Named so since `session` is Flask's.
session_view = Blueprint("session", __name__)
_YEAR_S = 365 * 86400


@session_view.get("/healthz")
def healthz() -> Response:
    """Whether the service works; nothing else, since anybody may ask."""
    bad = failed(here.known().status)
    return Response("failed\n" if bad else "ok\n", 503 if bad else 200, mimetype="text/plain")


@session_view.get("/login")
def login() -> str | AnyResponse:
    """Asks for the token."""
    if guard.entered():
        return redirect(url_for("live.show"), 303)
    return render_template("login.html", wait_s=guard.wait_s(), wrong=False)


@session_view.post("/login")
def enter() -> AnyResponse | tuple[str, int, dict[str, str]]:
    """Looks at the token."""
    wait_s = guard.wait_s()
    if guard.try_token(request.form.get("token", "").strip()):
        guard.enter()
        return redirect(url_for("live.show"), 303)
    wait_s = wait_s or guard.wait_s()
    headers = {"Retry-After": str(wait_s)} if wait_s else {}
    return render_template("login.html", wait_s=wait_s, wrong=True), 429 if wait_s else 403, headers


@session_view.post("/logout")
def leave() -> AnyResponse:
    """This browser forgets the token."""
    session.clear()
    return redirect(url_for("session.login"), 303)


@session_view.post("/language")
def language() -> AnyResponse:
    """Keeps the language in a cookie."""
    response = redirect(back(), 303)
    code = request.form.get("code", "")
    if code in CODES:
        secure = here.settings.certificate is not None
        response.set_cookie(LANGUAGE_COOKIE, code, max_age=_YEAR_S, secure=secure, httponly=True, samesite="Strict")
    return response
