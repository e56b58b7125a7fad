"""The pictures of results."""

import hashlib

from flask import Blueprint, Response, g, request, url_for
from werkzeug.exceptions import NotFound

from limiar.edge_app.page.drawing import Kind
from limiar.edge_app.page.here import here
from limiar.edge_app.page.pictures import NoPicture
from limiar.edge_app.store.reader import Entry

picture = Blueprint("picture", __name__)

_KINDS: dict[str, Kind] = {"thumb": "thumb", "full": "full", "map": "map"}
_DAY_S = 86_400


@picture.get("/pictures/<int:number>/<kind>.png")
def show(number: int, kind: str) -> Response:
    """A PNG file. What an address with its tag shows never changes; a new store has the same IDs again."""
    if kind not in _KINDS:
        raise NotFound
    entry = here.entry(number)
    etag = _tag(entry, kind)
    if etag in request.if_none_match:
        return _kept(Response(status=304), etag)
    try:
        return _kept(Response(here.site.pictures.png(entry, _KINDS[kind], _current()), mimetype="image/png"), etag)
    except NoPicture as error:
        return Response(here.language.words(error.key) + "\n", 503 if error.busy else 404, mimetype="text/plain")


def picture_address(entry: Entry, kind: str) -> str:
    """Where a picture of a result is, with its tag."""
    return url_for("picture.show", number=entry.id, kind=kind, v=_tag(entry, kind))


def picture_missing(entry: Entry) -> str | None:
    """Why a result has no picture, as a key of words; None if it has one."""
    return here.site.pictures.missing(entry)


def map_missing(entry: Entry) -> str | None:
    """Why a result has no map, as a key of words; None if it has one."""
    return here.site.pictures.map_missing(entry, _current())


def _tag(entry: Entry, kind: str) -> str:
    identity = f"{entry.id} {kind} {entry.bundle} {(entry.image_sha256 or entry.kept_sha256 or b'').hex()}"
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _current() -> str:
    """The folder of the bundle that answers now."""
    bundle = here.known().status.bundle
    return bundle.folder if bundle else ""


def _kept(response: Response, etag: str) -> Response:
    response.set_etag(etag)
    tagged = request.args.get("v") == etag
    response.headers["Cache-Control"] = f"private, max-age={_DAY_S}, immutable" if tagged else "private, no-cache"
    g.cacheable = True
    return response
