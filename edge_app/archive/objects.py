"""Images in object storage, by fsspec: addresses such as s3://bucket/folder/image.png.

Where the store is and who may read it comes from the environment, as its own programs take it (for S3: AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, AWS_PROFILE and ~/.aws); nothing of it is in a plan.
"""

import contextlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from functools import partial
from threading import Thread
from typing import Any, TypeVar

import fsspec

from limiar.edge_app.archive.plan import Known
from limiar.edge_app.errors import ArchiveError, LimiarError, printable
from limiar.edge_app.image.folder import Choice, Found, is_picture_name, kind_by_name
from limiar.edge_app.text import without_passwords

_ADDRESS = re.compile(rb"([a-z][a-z0-9+.-]*)://.")  # RFC 3986, section 3.1, in lower case
_LOCAL = ("file", "local")
_EXTRAS = {"s3": "s3", "s3a": "s3"}  # those that limiar has an extra for
_AT_ONCE = 16  # requests
_TICK_S = 0.1
_HELD = 32  # objects in memory at once, while a chunk's are fetched

_T = TypeVar("_T")


def is_address(path: bytes) -> bool:
    """Whether this is the address of objects and not a path; a file of such a name is given as ./NAME."""
    return bool(_ADDRESS.match(path))


class Store:
    """A place with objects, such as all buckets of an S3 service that one may read."""

    def __init__(self, protocol: str) -> None:
        """Raises LimiarError E-INSTALL-MISSING, ArchiveError E-PLAN-ADDRESS."""
        if protocol in _LOCAL:
            raise ArchiveError("E-PLAN-ADDRESS", f"{protocol}:// is of files on this machine: give their paths")
        try:
            # Without its cache of listings, which would grow with the number of objects.
            self._files: Any = fsspec.filesystem(protocol, use_listings_cache=False)
        except ImportError as error:
            cure = f"pip install 'limiar[{_EXTRAS[protocol]}]'" if protocol in _EXTRAS else f"install {error.name or 'it'}"
            raise LimiarError("E-INSTALL-MISSING", f"{protocol}:// needs a package that is not installed: {cure}") from None
        except Exception as error:  # each has errors of its own
            met = f"{protocol}:// cannot be read by fsspec ({_said(error)})"
            raise ArchiveError(
                "E-PLAN-ADDRESS", f"{met}: give s3://BUCKET/FOLDER, or another store that fsspec knows"
            ) from None

    def walk(self, address: bytes, choice: Choice, passed: Callable[[Found], None]) -> Iterator[tuple[bytes, Known]]:
        """The pictures below an address, in name order; a folder's listing is in memory at a time. Raises ArchiveError.

        Only names are looked at: an object without the extension of a picture is passed over.
        """
        root = self._files._strip_protocol(address.decode().rstrip("/"))
        start = len(root) + 1
        left = self._listing(address, root)
        while left:
            found = left.pop()
            name, is_folder = found["name"].rstrip("/"), found["type"] == "directory"
            path = self._files.unstrip_protocol(name).encode()
            if kind := kind_by_name(os.fsencode(name[start:]), choice, is_folder):
                passed(Found(path, kind, "by its name", is_folder=is_folder))
            elif is_folder:
                left += self._listing(path, name)
            else:
                yield path, _known(found)

    def _listing(self, address: bytes, path: str) -> list[dict[str, Any]]:
        """What a folder holds, the last name first. fsspec's own walk would leave out a folder that it cannot list."""
        try:
            listed = sorted(self._files.ls(path, detail=True), key=lambda found: str(found["name"]), reverse=True)
        except Exception as error:
            met = f"{printable(address)} cannot be listed ({_said(error)})"
            cure = "check the address, and what the store's own variables say, such as AWS_ENDPOINT_URL and AWS_PROFILE"
            raise ArchiveError("E-PLAN-ADDRESS", f"{met}: {cure}") from None
        itself = [found for found in listed if found["name"].rstrip("/") == path]
        if any(found["type"] == "directory" for found in itself):  # fsspec would list the same folder for it, for ever
            met = f"{printable(address)} holds a folder without a name (two slashes in a row), which cannot be listed"
            raise ArchiveError("E-PLAN-ADDRESS", f"{met}: give the addresses of such objects in a list")
        return [found for found in listed if found not in itself]  # a file of its name stands for the folder

    def ask(self, address: bytes) -> Known:
        """What the store says of an object, if it does."""
        with contextlib.suppress(Exception):  # whatever it is, the chunk will meet it again, and say it
            if (found := self._files.info(address.decode()))["type"] == "file":
                return _known(found)
        return Known()

    def fetch(self, address: bytes, known: Known, limit: int) -> bytes | None:
        """An object, or its first limit + 1 bytes; None if it is not there. Raises ArchiveError E-CHUNK-FETCH."""
        try:
            if known.bytes == 0:  # it has no range
                data = self._files.cat_file(address.decode())
            else:
                data = self._files.cat_file(address.decode(), start=0, end=limit + 1)
        except FileNotFoundError:
            return None
        except Exception as error:
            met = f"{printable(address)} cannot be read ({_said(error)})"
            raise ArchiveError("E-CHUNK-FETCH", f"{met}: check the store and who may read it, then run again") from None
        assert isinstance(data, bytes)
        return data


class Stores:
    """The stores that have been asked for, by protocol."""

    def __init__(self) -> None:
        self._opened: dict[str, Store] = {}

    def of(self, address: bytes) -> Store:
        """The store of an address. Raises as Store, and ArchiveError E-PLAN-ADDRESS if the address cannot be used."""
        found = _ADDRESS.match(address)
        assert found
        if without_passwords(text := address.decode(errors="replace")) != text:
            met = f"{without_passwords(text)} was given with a password, which every answer would have"
            raise ArchiveError("E-PLAN-ADDRESS", f"{met}: leave it to the store's own variables")
        if "\ufffd" in text:
            raise ArchiveError("E-PLAN-ADDRESS", f"{printable(address)} is not UTF-8: give the address as the store has it")
        protocol = found[1].decode()
        if protocol not in self._opened:
            self._opened[protocol] = Store(protocol)
        return self._opened[protocol]

    def ask(self, addresses: Sequence[bytes]) -> list[Known]:
        """`Store.ask` for each, several at once. Raises as `of`."""
        return list(_at_once([partial(self.of(address).ask, address) for address in addresses]))

    def fetch(
        self, addresses: Sequence[bytes], known: Sequence[Known], limit: int, look: Callable[[], None] = lambda: None
    ) -> Iterator[bytes | None]:
        """`Store.fetch` for each, in order, several at once. look: see `_at_once`. Raises as they do, and as `of`."""
        both = zip(addresses, known, strict=True)
        calls = [partial(self.of(address).fetch, address, about, limit) for address, about in both]
        for first in range(0, len(calls), _HELD):
            yield from _at_once(calls[first : first + _HELD], look)


def _at_once(calls: Sequence[Callable[[], _T]], look: Callable[[], None] = lambda: None) -> Iterator[_T]:
    """What calls return, in order; several run at a time. look: called every 0.1 s; what it raises ends this.

    A store may hang for minutes, so the threads are of a kind that the program does not wait for when it ends.
    """
    futures = deque(Future[_T]() for _ in calls)
    waiting = deque(zip(futures, calls, strict=True))

    def work() -> None:
        with contextlib.suppress(IndexError):  # nothing waits any more
            while True:
                _run(*waiting.popleft())

    for _ in range(min(_AT_ONCE, len(calls))):
        Thread(target=work, daemon=True).start()
    try:
        while futures:
            look()
            if wait([futures[0]], _TICK_S).done:
                yield futures.popleft().result()
    finally:
        waiting.clear()


def _run(future: Future[_T], call: Callable[[], _T]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)


def is_object(address: bytes) -> bool:
    """Whether an address is of one picture and not of a folder, by its name."""
    return is_picture_name(address)


def _known(found: dict[str, Any]) -> Known:
    size, etag = found.get("size"), found.get("ETag") or found.get("etag") or ""
    return Known(size if isinstance(size, int) else None, str(etag).strip('"'))


def _said(error: BaseException) -> str:
    text = str(error).strip()
    return printable(text.splitlines()[0] if text else type(error).__name__)
