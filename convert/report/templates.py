"""The pages and the card that convert writes, filled in."""

from pathlib import Path

from limiar.edge_app.report import templates


def render(template: str, **values: object) -> bytes:
    """A template beside this file, UTF-8. Values are escaped in a .html.j2, not in a .md.j2."""
    return templates.render(Path(__file__).parent, template, **values)
