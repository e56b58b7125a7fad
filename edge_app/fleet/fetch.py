"""A file from a web server, by its sha256 and over any number of cut connections: what is there is not fetched again.

Nothing of it is worth anything before `fetch` has returned: then its size and sha256 are those that were asked for.
"""

import contextlib
import hashlib
import http.client
import os
import re
import signal
import ssl
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from msgspec import Struct

from limiar.edge_app.errors import BundleError, LimiarError, printable
from limiar.edge_app.fleet.tls import client_context
from limiar.edge_app.install.record import telling
from limiar.edge_app.service.config import LOOPBACK
from limiar.edge_app.system.files import read_bounded, write_whole

SUFFIX = ".limiar"  # of the file on the server, after its sha256
_PART, _TAG = ".part", ".tag"  # what has come, and the server's ETag of it
_TAG_LIMIT = 1 << 10  # bytes
_AT_ONCE = 1 << 16  # bytes
_STALLED_S = 60.0  # a connection that gives fewer bytes than these in so long is given up
_STALLED_BYTES = 1 << 14
_RANGE = re.compile(r"bytes (?:(\d{1,15})-\d{1,15}|\*)/(\d{1,15}|\*)", re.ASCII)
_STRONG = re.compile(r'"[\x21\x23-\x7e]{1,200}"', re.ASCII)  # RFC 9110, 8.8.3; a weak one is not for ranges


class Later(LimiarError):
    """It may work at another time."""


class Server(Struct, frozen=True):
    """Where bundles are."""

    base: str  # https://HOST/FOLDER; http for this machine alone
    authority: str = ""  # PEM files
    certificate: str = ""
    key: str = ""


class Wanted(Struct, frozen=True):
    """A file."""

    sha256: str
    bytes: int


class Mismatch(BundleError):
    """All bytes are there, and they are not those that were asked for."""


def fetch(server: Server, wanted: Wanted, folder: Path, progress: Callable[[int], None], stalled_s: float = _STALLED_S) -> Path:
    """One connection: takes what is still missing; returns the whole file, in `folder`. Only in a process's main thread.

    progress: called with the bytes that are there. Raises Later: the connection was cut, or another reason to try again;
    Mismatch; BundleError E-FLEET-SIZE and E-FLEET-REDIRECT: the server has another file; StoreError; E-FLEET-CERTIFICATE.
    """
    with telling(folder.parent):
        folder.mkdir(exist_ok=True)
    with telling(folder), _Part(folder, wanted) as part:
        if part.bytes < wanted.bytes:
            try:
                with _not_stalled(stalled_s) as going_on:

                    def came(new: int) -> None:
                        going_on(new)
                        progress(part.bytes)

                    _continue(server, wanted, part, came)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise Later("E-FLEET-FETCH", f"{_where(server)}: {_reason(error)}: it is tried again") from None
        if part.bytes < wanted.bytes:
            met = f"{_where(server)}: the connection ended after {part.bytes} of {wanted.bytes} bytes"
            raise Later("E-FLEET-FETCH", f"{met}: it is tried again")
        if part.sha256() != wanted.sha256:
            part.remove()
            met = f"what {_where(server)} gives as {wanted.sha256[:12]}{SUFFIX} has another sha256"
            raise Mismatch("E-FLEET-HASH", f"{met}: put the file there again, as `limiar fleet roll-out` wrote it")
    return part.path


def clear(folder: Path, keep: str = "") -> None:
    """Removes what was fetched, but for the file of this sha256. Raises StoreError."""
    with telling(folder), contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if name.endswith((_PART, _TAG)) and not (keep and name.startswith(keep)):
                (folder / name).unlink(missing_ok=True)


def fetched(folder: Path, sha256: str) -> int:
    """The bytes of a file that have come by now."""
    with contextlib.suppress(OSError):
        return (folder / f"{sha256}{_PART}").stat().st_size
    return 0


class _Part:
    """What has come of a file, and the server's name for that version of it. Raises OSError."""

    def __init__(self, folder: Path, wanted: Wanted) -> None:
        self.path = folder / f"{wanted.sha256}{_PART}"
        self._tag = folder / f"{wanted.sha256}{_TAG}"
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._file = open(descriptor, "r+b", buffering=0)  # noqa: SIM115 closed by __exit__
        self.bytes = self._file.seek(0, os.SEEK_END)
        if self.bytes > wanted.bytes:
            self.empty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def tag(self) -> str:
        """Empty if there is none."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found = read_bounded(self._tag, _TAG_LIMIT).decode("ascii")
            return found if _STRONG.fullmatch(found) else ""
        return ""

    def begin(self, tag: str) -> None:
        """What comes now is of this version. A tag that cannot be used is as none: then the sha256 tells at the end."""
        if not _STRONG.fullmatch(tag):
            self._tag.unlink(missing_ok=True)
        elif tag != self.tag:
            write_whole(self._tag, tag.encode("ascii"), durable=False)

    def add(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        self.bytes += len(data)

    def empty(self) -> None:
        self._file.truncate(0)
        self._file.seek(0)
        self.bytes = 0

    def remove(self) -> None:
        self._tag.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def sha256(self) -> str:
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()


def _continue(server: Server, wanted: Wanted, part: _Part, came: Callable[[int], object]) -> None:
    """Adds to `part` what the server still has. Raises also OSError, HTTPException and ValueError."""
    connection, path = _connection(server, wanted)
    with contextlib.closing(connection):
        headers = {"Accept-Encoding": "identity"}
        if part.bytes:
            headers |= {"Range": f"bytes={part.bytes}-"} | ({"If-Range": part.tag} if part.tag else {})
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        _check(answer, wanted, part.bytes)
        with telling(part.path):
            if answer.status == http.client.OK:  # all of it: another version than the one before, or a server without ranges
                part.empty()
            part.begin(answer.getheader("ETag", ""))
        while data := answer.read1(_AT_ONCE):
            if part.bytes + len(data) > wanted.bytes:
                part.empty()
                raise _another_size(wanted, "more")
            with telling(part.path):
                part.add(data)
            came(len(data))


def _check(answer: http.client.HTTPResponse, wanted: Wanted, there: int) -> None:
    """Raises ValueError: not now; BundleError: the server has another file, or says that it is elsewhere."""
    said = f"the server says {answer.status} {printable(answer.reason)[:100]}"
    if 300 <= answer.status < 400:
        cure = "give the address to which it leads as `bundles` in limiar.toml, since none is followed"
        raise BundleError("E-FLEET-REDIRECT", f"{said}: {cure}")
    found = _RANGE.fullmatch(answer.getheader("Content-Range", ""))
    if answer.status in (206, 416) and found and found[2] not in ("*", str(wanted.bytes)):
        raise _another_size(wanted, found[2])
    length = answer.getheader("Content-Length", "").strip()
    if answer.status == http.client.OK and length not in ("", str(wanted.bytes)):
        raise _another_size(wanted, length)
    ranged = answer.status == http.client.PARTIAL_CONTENT and found and found[1] == str(there)
    if answer.status != http.client.OK and not ranged:
        raise ValueError(f"{said} for {wanted.sha256[:12]}{SUFFIX}")


def _another_size(wanted: Wanted, found: str) -> BundleError:
    met = f"{wanted.sha256[:12]}{SUFFIX} has {printable(found)[:20]} bytes on the server, and should have {wanted.bytes}"
    return BundleError("E-FLEET-SIZE", f"{met}: put the file there again, as `limiar fleet roll-out` wrote it")


def _connection(server: Server, wanted: Wanted) -> tuple[http.client.HTTPConnection, str]:
    """A connection, and the path of the file. Raises ValueError, and LimiarError E-FLEET-CERTIFICATE."""
    parts = urllib.parse.urlsplit(server.base)
    path = f"{parts.path.rstrip('/')}/{wanted.sha256}{SUFFIX}"
    if parts.scheme == "http" and parts.hostname in LOOPBACK:
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=_STALLED_S), path
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("the address is not of https")
    if server.authority:
        context = client_context(server.authority, server.certificate, server.key)
    else:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=_STALLED_S, context=context), path


@contextlib.contextmanager
def _not_stalled(stalled_s: float) -> Iterator[Callable[[int], None]]:
    """Raises TimeoutError from whatever waits, unless the function that it gives hears of enough bytes.

    A socket's own timeout begins again with each byte, and a server may send one a minute.
    """

    def late(*_: object) -> None:
        raise TimeoutError(f"under {_STALLED_BYTES >> 10} KiB came in {stalled_s:.0f} s")

    came = 0

    def going_on(new: int) -> None:
        nonlocal came
        came += new
        if came >= _STALLED_BYTES:
            came = 0
            signal.setitimer(signal.ITIMER_REAL, stalled_s)

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, stalled_s)
    try:
        yield going_on
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _where(server: Server) -> str:
    return printable(server.base)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not believed ({error.verify_message})"
    return printable(str(getattr(error, "strerror", None) or str(error) or type(error).__name__))[:200]
