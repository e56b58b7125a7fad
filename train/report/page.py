"""The frame of every page that train writes: one file, without scripts."""

from collections.abc import Iterable
from pathlib import Path

from limiar.edge_app.text import for_html as escape

STYLE = Path(__file__).with_name("report.css")
NOT_FOR_DIAGNOSIS = "For research and education. Not for diagnosis."


def page(title: str, sections: Iterable[str]) -> str:
    """title: text; sections: HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>\n{STYLE.read_text()}</style></head>\n<body><main>\n{''.join(sections)}</main></body></html>\n"
    )
