"""Fills in the templates of pages."""

from pathlib import Path

import jinja2

from limiar.edge_app.text import visible

_HERE = Path(__file__).parent


def render(folder: Path, template: str, **values: object) -> bytes:
    """Fills in a template from `folder`, UTF-8. It may extend page.html.j2, and can use `css`, the style of all pages.

    Values are escaped only in .html.j2 templates.
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
    """Makes values harmless: pages quote file names and libraries, and nothing in them may act on the page."""
    return visible(value) if type(value) is str else value  # markup is our own
