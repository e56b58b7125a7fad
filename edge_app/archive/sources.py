"""What is to be answered, as a stream: folders, files, lists of paths, and addresses of objects."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from limiar.edge_app.archive.objects import Stores, is_address, is_object
from limiar.edge_app.archive.plan import Known
from limiar.edge_app.errors import SourceError, printable
from limiar.edge_app.image.folder import Choice, Found
from limiar.edge_app.scan.paths import Files

_ASKED = 512  # objects whose sizes are asked for together


class Image(NamedTuple):
    """A picture to answer."""

    path: bytes  # absolute, or the address of an object
    known: Known | None  # of an object; None: it is a file
    bytes: int | None  # its size; None: unknown


def images(
    sources: Iterable[bytes | None], choice: Choice, passed: Callable[[Found], None], stores: Stores
) -> Iterator[Image | None]:
    """The pictures of all sources, in order; None passes through: there is none yet.

    Folders are entered as `limiar scan` enters them. A file or object given by name is always taken; a name that ends like a
    picture's is one. passed: called with what is passed over. Raises ArchiveError E-PLAN-ADDRESS, SourceError E-SOURCE-LIST.
    """
    named: list[bytes] = []  # objects
    here = os.getcwdb()
    for source in sources:
        if source and b"\0" in source:
            cure = "if NUL separates the paths, give -0; if the list is UTF-16, as Windows writes it, make it UTF-8"
            raise SourceError("E-SOURCE-LIST", f"{printable(source[:80])} has NUL in it, which no path has: {cure}")
        if source and is_address(source) and is_object(source):
            named.append(source)
            if len(named) < _ASKED:
                continue
        yield from _objects(named, stores)
        named = []
        if source and not is_address(source):
            yield from map(_file, Files([_absolute(here, source)], choice, passed))
        elif source and not is_object(source):
            for path, known in stores.of(source).walk(source, choice, passed):
                yield Image(path, known, known.bytes)
        elif source is None:
            yield None
    yield from _objects(named, stores)


def _objects(addresses: list[bytes], stores: Stores) -> Iterator[Image]:
    for address, known in zip(addresses, stores.ask(addresses), strict=True):
        yield Image(address, known, known.bytes)


def _absolute(here: bytes, path: bytes) -> bytes:
    """The same for `in`, `./in` and `in/`, since chunks are named by it. `..` stays: behind a link it leads elsewhere."""
    return b"/" + b"/".join(part for part in os.path.join(here, path).split(b"/") if part not in (b"", b"."))


def _file(path: bytes | None) -> Image | None:
    if path is None:
        return None
    try:
        return Image(path, None, os.stat(path).st_size)
    except OSError:  # it is answered with the reason
        return Image(path, None, 0)
