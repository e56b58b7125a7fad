"""What all templates can use."""

import os

from flask import Flask, request
from markupsafe import Markup, escape

from limiar.edge_app import APP
from limiar.edge_app.bundle.manifest import REFER, REFUSED
from limiar.edge_app.page.guard import csrf_token
from limiar.edge_app.page.here import here
from limiar.edge_app.page.views.picture import map_missing, picture_address, picture_missing
from limiar.edge_app.results.lines import reviewed_label
from limiar.edge_app.store.reader import Entry
from limiar.edge_app.text import visible

DECISIONS = frozenset({REFER, REFUSED})  # the others are labels


def register(app: Flask) -> None:
    """Gives them to the templates of an app."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.finalize = _finalize
    app.jinja_env.filters["code"] = code
    app.context_processor(_values)


def _finalize(value: object) -> object:
    """Nothing that is quoted can act on the page: a file name may hold marks that turn the direction of writing."""
    return visible(value) if type(value) is str else value


def _values() -> dict[str, object]:
    language = here.language
    return {
        "app_name": APP,
        "language": language,
        "t": language.words,
        "tn": language.counted,
        "number": language.number,
        "percent": language.percent,
        "size": language.size,
        "ago": language.ago,
        "duration": language.duration,
        "sentence": language.sentence,
        "when": when,
        "decision": decision,
        "csrf": csrf,
        "here_path": request.full_path.rstrip("?"),
        "read_only": here.read_only,
        "asks_token": here.settings.asks_token,
        "known": here.known,
        "here": here,
        "tone": tone,
        "name_of": name_of,
        "path_of": path_of,
        "labels_of": lambda entry: tuple(entry.probabilities or ()),
        "reviewed_label": reviewed_label,
        "picture_missing": picture_missing,
        "picture_address": picture_address,
        "map_missing": map_missing,
    }


def code(text: str) -> Markup:
    """Text whose pieces between backticks, as in messages, are <code>."""
    pieces = visible(text).split("`")
    if len(pieces) % 2 == 0:
        return escape(visible(text))
    return Markup("").join(Markup("<code>{}</code>").format(one) if at % 2 else escape(one) for at, one in enumerate(pieces))


def when(iso: str) -> Markup:
    """A <time> in the device's zone."""
    return Markup('<time datetime="{}">{}</time>').format(iso, here.language.moment(iso))


def decision(name: str) -> str:
    """A decision for people: a label as it is."""
    return here.language.words(f"decision.{name}") if name in DECISIONS else name


def tone(name: str, labels: tuple[str, ...] = ()) -> str:
    """The class of a decision's badge. labels: of the model, in order."""
    return name if name in DECISIONS else f"label-{labels.index(name) % 8}" if name in labels else "label"


def csrf() -> Markup:
    """The field that every form needs."""
    return Markup('<input type="hidden" name="csrf" value="{}">').format(csrf_token())


def name_of(entry: Entry) -> str:
    """What people call a result: the file's name, or the frame's number."""
    if entry.path is not None:
        return _shown(os.path.basename(entry.path))
    return here.language.words("results.frame", number=here.language.number(entry.sequence or 0))


def path_of(entry: Entry) -> str:
    """Where the file was first seen."""
    return _shown(entry.path or b"")


def _shown(path: bytes) -> str:
    return path.decode(errors="backslashreplace")
