"""The page as one file, which opens from a disk: no server, and nothing to install."""

import base64
import gzip
from collections.abc import Iterator
from pathlib import Path

from limiar.edge_app.phone.build import APP_MANIFEST, Page, Part
from limiar.edge_app.phone.html import one_file_html
from limiar.edge_app.phone.out import refuse_others, writing_to
from limiar.edge_app.system.files import read_bounded, write_whole

ENDINGS = (".html", ".htm")  # in any case
_LEFT_OUT = ("app.js", "app.css", APP_MANIFEST)  # the first two are in the page itself, and one file is not installed
_LIMIT = 1 << 30  # bytes of an earlier page
_MARK = b'<meta name="limiar-page" content="'


def write_file(page: Page, out: Path) -> int:
    """Writes the page, whole or not at all; an earlier page there is replaced. Returns its bytes. Raises OutputError."""
    with writing_to(out):
        if out.exists() and _MARK not in read_bounded(out, _LIMIT):
            refuse_others(out)
        data = one_file_html(page, {part.name: _packed(part) for part in (page.listing, *_embedded(page))})
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, data)
    return len(data)


def _embedded(page: Page) -> Iterator[Part]:
    for part in page.parts:
        if part.name not in _LEFT_OUT and not part.name.startswith("icon-"):  # a phone's home screen has those
            yield part


def _packed(part: Part) -> str:
    """As web/place.js unpacks it: base64 of gzip; what is stored as gzip is not packed twice."""
    data = part.data if part.name.endswith(".gz") else gzip.compress(part.data, mtime=0)
    return base64.b64encode(data).decode()
