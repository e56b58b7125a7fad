"""The pages and the card, filled in."""

from pathlib import Path

import jinja2

from limiar.edge_app.text import visible

_FOLDER = Path(__file__).parent


def _finalize(value: object) -> object:
    """Names and libraries are quoted on a page: nothing in them may act on it."""
    return visible(value) if type(value) is str else value  # markup is our own


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_FOLDER),
    finalize=_finalize,
    autoescape=jinja2.select_autoescape(["html.j2"]),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def render(template: str, **values: object) -> bytes:
    """A template beside this file, UTF-8. Values are escaped in a .html.j2, not in a .md.j2."""
    css = (_FOLDER / "report.css").read_text(encoding="utf-8")
    return _ENVIRONMENT.get_template(template).render(css=css, **values).encode()
