"""The page as a folder: to be served, and then installed on a phone, where it opens without a network."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from limiar.edge_app.phone.build import PAGE, WEB, Page, PageJson, Part
from limiar.edge_app.phone.html import folder_html
from limiar.edge_app.phone.join import join
from limiar.edge_app.phone.out import refuse_others, writing_to
from limiar.edge_app.system.files import partial_folder, read_bounded, replace_folder, write_whole

_LIMIT = 4 << 20  # bytes of page.json


def write_folder(page: Page, out: Path) -> int:
    """Writes the page, whole or not at all; an earlier page there is replaced. Returns its bytes. Raises OutputError."""
    with writing_to(out):
        _check_ours(out)
        parts = tuple(folder_parts(page))
        with partial_folder(out) as partial:
            for part in parts:
                target = partial / part.name
                target.parent.mkdir(parents=True, exist_ok=True)
                write_whole(target, part.data)
            replace_folder(partial, out)
    return sum(len(part.data) for part in parts)


def folder_parts(page: Page) -> Iterator[Part]:
    """Every file of the folder."""
    index = Part("index.html", folder_html(page))
    yield from page.parts
    yield from (page.listing, index, _service_worker(page, index))


def _service_worker(page: Page, index: Part) -> Part:
    listing = page.listing
    built = {
        "page": listing.sha256,
        "index": index.sha256,
        "types": {part.name: part.type for part in (*page.parts, listing, index)},
    }
    return Part("sw.js", b"self.built = %s;\n%s" % (msgspec.json.encode(built), join(WEB / "sw.js", WEB).encode()))


def _check_ours(out: Path) -> None:
    """Raises OSError, and OutputError: something else is there."""
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        msgspec.json.decode(read_bounded(out / PAGE, _LIMIT), type=PageJson)
    except (OSError, msgspec.MsgspecError):
        refuse_others(out)
