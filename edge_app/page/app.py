"""The Flask application."""

from datetime import timedelta
from pathlib import Path

from flask import Flask, Response, make_response, render_template, request
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import URLSafeTimedSerializer
from werkzeug.exceptions import HTTPException
from werkzeug.routing import IntegerConverter

from limiar.edge_app.errors import LimiarError
from limiar.edge_app.page import filters
from limiar.edge_app.page.guard import Untrusted, entered, guard
from limiar.edge_app.page.here import Site, close_reader, here, install
from limiar.edge_app.page.uploads import FORM_BYTES, FormRequest
from limiar.edge_app.page.views.bundle import bundle
from limiar.edge_app.page.views.export import export
from limiar.edge_app.page.views.health import health
from limiar.edge_app.page.views.live import live
from limiar.edge_app.page.views.phone import phone
from limiar.edge_app.page.views.picture import picture
from limiar.edge_app.page.views.results import results
from limiar.edge_app.page.views.review import review
from limiar.edge_app.page.views.session import session_view

VIEWS = (live, results, picture, export, review, health, bundle, phone, session_view)

_FORM_PARTS = 20
_SESSION = timedelta(hours=12)
_STATUS = {"E-STORE-MISSING": 200, "E-RESULT-MISSING": 404, "E-STORE-BUSY": 503, "E-PAGE-ACCESS": 503}


class _Number(IntegerConverter):
    """An ID that SQLite can hold."""

    regex = r"[0-9]{1,18}"


class _Sessions(SecureCookieSessionInterface):
    """Signed with the secret as it is now: a new token replaces it."""

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        try:
            app.secret_key = here.site.access.secret
        except LimiarError:  # with which the guard refuses the request: nothing is signed
            return None
        return super().get_signing_serializer(app)


def make_app(site: Site) -> Flask:
    """The page of a state folder; the caller has entered site.statuses."""
    app = Flask(__name__, root_path=str(Path(__file__).parent))
    secure = site.settings.certificate is not None
    app.config.update(
        MAX_CONTENT_LENGTH=FORM_BYTES,
        # More than the 64 KiB in which Werkzeug parses a file, beside what the piece before left, such as a line's end.
        MAX_FORM_MEMORY_SIZE=2 * FORM_BYTES,
        MAX_FORM_PARTS=_FORM_PARTS,
        PERMANENT_SESSION_LIFETIME=_SESSION,
        SESSION_COOKIE_NAME="limiar",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_SECURE=secure,
        SESSION_REFRESH_EACH_REQUEST=False,
        SEND_FILE_MAX_AGE_DEFAULT=timedelta(0),
    )
    app.request_class = FormRequest
    app.session_interface = _Sessions()
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    app.url_map.converters["int"] = _Number
    install(app.extensions, site)
    guard(app)
    for view in VIEWS:
        app.register_blueprint(view)
    filters.register(app)
    app.teardown_request(close_reader)
    app.register_error_handler(LimiarError, _refused)
    app.register_error_handler(Untrusted, _untrusted)
    app.register_error_handler(HTTPException, _http)
    return app


def _refused(error: LimiarError) -> Response:
    if error.code == "E-PAGE-ACCESS":  # whoever asks; a form could not be signed
        return Response(f"{here.language.sentence(error.code)}\n", _STATUS[error.code], mimetype="text/plain")
    template = "no_answers.html" if error.code == "E-STORE-MISSING" else "error.html"
    return _page(template, _STATUS.get(error.code, 409), code=error.code, message=error.message)


def _untrusted(error: Untrusted) -> Response:
    return _page("error.html", 403, key=error.key)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    known = status if status in (400, 403, 404, 405, 413, 500, 503) else 400 if status < 500 else 500
    response = _page("error.html", status, key=f"error.{known}")
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _page(template: str, status: int, **values: object) -> Response:
    if request.path.endswith((".json", ".jsonl", ".csv", ".png")) or status == 421:
        text = str(values.get("message") or here.language.words(str(values.get("key", "error"))))
        return Response(f"{text}\n", status, mimetype="text/plain")
    # Who has not given the token is not told how the device is: bare.
    return make_response(render_template(template, **values, bare=not entered()), status)
