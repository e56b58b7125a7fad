"""Fills in the templates of pages."""

from pathlib import Path

import jinja2

from limiar.edge_app.text import visible

_HERE = Path(__file__).parent


def render(folder: Path, template: str, **values: object) -> bytes:
    """A template in `folder`, UTF-8; it may extend page.html.j2 and has `css`, the style of every page.

    Values are escaped in a .html.j2, and in no other.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _HERE]),
        finalize=_finalize,
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    css = (_HERE / "page.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(css=css, **values).encode()


def _finalize(value: object) -> object:
    """Names and libraries are quoted on a page: nothing in them may act on it."""
    return visible(value) if type(value) is str else value  # markup is our own
