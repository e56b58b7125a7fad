"""Network cameras that send one JPEG after another over HTTP (MJPEG). Imported only in the capture process.

What the camera sends never reaches FFmpeg, which would follow a playlist. Each picture is decoded by the rules for image files,
and a damaged one is passed over.
"""

import functools
import re
import ssl
import statistics
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from email.message import Message
from http.client import HTTPException, HTTPResponse
from urllib.parse import unquote, urlsplit

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.camera.messages import FRAME_S
from limiar.edge_app.camera.source import Address, Settings, Source
from limiar.edge_app.errors import ImageError, SourceError
from limiar.edge_app.image.containers.container import BYTES_LIMIT
from limiar.edge_app.image.read import decode

_ANSWER_S = 5.0  # to connect, and for each read; if a stream falls silent, the parent gives up sooner
_LINE_BYTES = 65536  # at most, in one read of a line
_HEADER_LINES = 100
_LINE_END = b"\r\n"  # no JPEG ends with these
_SILENCE_S, _SILENCE = 1.0, 4.0  # seconds without a picture, and times as long as usual
_PAUSES = 10  # between pictures, of which the usual one is known
_DAMAGED_S = FRAME_S - 0.5  # after so long with only damaged pictures, the stream has failed


def open_source(address: Address, _realtime: bool, _settings: Settings) -> Source:
    """Connects to the camera. Raises SourceError if nothing answers, or the answer is not MJPEG."""
    return MjpegStream(functools.partial(_connected, address), address.name)


def _connected(address: Address) -> HTTPResponse:
    """Raises SourceError."""
    url = urlsplit(address.target)
    host = url.netloc.rpartition("@")[2]
    plain = url._replace(netloc=host).geturl()
    try:
        response: HTTPResponse = _opener(plain, url.username, url.password).open(plain, timeout=_ANSWER_S)
    except urllib.error.HTTPError as error:
        raise _refused(address.name, error.code) from None
    except (OSError, ValueError, HTTPException) as error:
        raise _unanswered(address.name, error) from None
    return response


def _opener(url: str, user: str | None, password: str | None) -> urllib.request.OpenerDirector:
    """Speaks HTTP and HTTPS with this address only.

    No proxy: a camera is on the local network. No redirection: it could take the password anywhere.
    """
    opener = urllib.request.OpenerDirector()
    handlers: list[urllib.request.BaseHandler] = [
        *(urllib.request.HTTPHandler(), urllib.request.HTTPSHandler()),
        *(urllib.request.HTTPErrorProcessor(), urllib.request.HTTPDefaultErrorHandler()),
    ]
    if user is not None:
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, url, unquote(user), unquote(password or ""))
        handlers += [urllib.request.HTTPBasicAuthHandler(passwords), urllib.request.HTTPDigestAuthHandler(passwords)]
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def _refused(name: str, status: int) -> SourceError:
    if status in (401, 403):
        met = f"{name} does not accept this user and password (HTTP {status})"
        return SourceError("E-SOURCE-DENIED", f"{met}: give http://user:password@…")
    if status in (429, 503):
        return SourceError("E-SOURCE-BUSY", f"{name} is in use (HTTP {status}): close its other viewers, then start again")
    if 300 <= status < 400:
        return SourceError("E-SOURCE-OPEN", f"{name} redirects to another address (HTTP {status}): give that one")
    return SourceError("E-SOURCE-OPEN", f"{name} gives HTTP {status}: look for its MJPEG address in its manual")


def _unanswered(name: str, error: Exception) -> SourceError:
    cause = getattr(error, "reason", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        cure = "save its certificate in a file and set SSL_CERT_FILE to that file, or give http://…"
        return SourceError("E-SOURCE-OPEN", f"{name} has a certificate that this machine does not trust: {cure}")
    reason = " ".join(str(cause).split())[:100] or type(cause).__name__
    return SourceError("E-SOURCE-OPEN", f"{name} does not answer ({reason}): check the address, the network, and that it is on")


class MjpegStream:
    """Parts of a `multipart/x-mixed-replace` answer (RFC 2046, section 5.1), each a JPEG."""

    live = True
    place = None
    doubtful = None
    stamp_s: float | None = None
    loss = None
    note = None

    def __init__(self, connect: Callable[[], HTTPResponse], name: str) -> None:
        """Raises SourceError, as `connect` does."""
        self._connect, self._name = connect, name
        self._good_s = time.monotonic()
        self._pauses: deque[float] = deque(maxlen=_PAUSES)  # between pictures
        self._begin()

    def _begin(self) -> None:
        response = self._response = self._connect()
        self._came_s: float | None = None  # when the last picture came
        self._divided = False  # the line before the next part has been read
        kind = response.headers.get_content_type()
        # Many cameras count the dashes of the dividing line as part of the boundary's name.
        self._boundary = str(response.headers.get_param("boundary", "")).strip("-").encode("latin-1", "replace")
        if not kind.startswith("multipart/") or not self._boundary:
            response.close()
            met = f"{self._name} gives {kind}, not a stream of JPEGs (multipart/x-mixed-replace with a boundary)"
            raise SourceError("E-SOURCE-FORMAT", f"{met}: look for the camera's MJPEG address in its manual")

    def read(self) -> Pixels | None:
        """The next picture; None for one that is damaged."""
        try:
            picture = self._part()
        except (OSError, HTTPException, ValueError) as error:
            reason = " ".join(str(error).split())[:100] or type(error).__name__
            raise SourceError("E-SOURCE-READ", f"{self._name} ended the stream ({reason}): start again") from None
        if self._was_silent(time.monotonic()):
            # What comes after a silence may have waited in the network. What comes over a new connection has not.
            self.close()
            self._begin()
            return None
        try:
            pixels = decode(picture).pixels()
        except ImageError as error:
            if time.monotonic() - self._good_s >= _DAMAGED_S:
                met = f"{self._name} gives pictures that do not decode ({error.code}: {error.message})"
                raise SourceError("E-SOURCE-READ", f"{met}: check the camera and its network") from None
            return None
        self._good_s = time.monotonic()
        return pixels

    def close(self) -> None:
        self._response.close()

    def _was_silent(self, now_s: float) -> bool:
        """Whether the picture that has come now took much longer than those before."""
        before_s, self._came_s = self._came_s, now_s
        if before_s is None:
            return False
        usual_s = statistics.median(self._pauses) if self._pauses else float("inf")
        self._pauses.append(now_s - before_s)
        return now_s - before_s > max(_SILENCE_S, _SILENCE * usual_s)

    def _part(self) -> bytes:
        """The body of the next part. Raises OSError, ValueError and HTTPException if there is none."""
        while not self._divided:
            self._divided = self._divides(self._line())
        self._divided = False
        header = self._header()
        self.stamp_s = _seconds(header.get("x-timestamp", ""))
        length = header.get("content-length", "")
        if length.isdecimal() and int(length):  # some cameras write 0 if they do not know it
            self._check(int(length))
            body = self._response.read(int(length))
            if len(body) < int(length):
                raise ConnectionError("the connection was closed in the middle of a picture")
            return body.rstrip(_LINE_END)  # some cameras count the line end as well
        lines: list[bytes] = []
        size = 0
        while not self._divides(line := self._line()):
            lines.append(line)
            size += len(line)
            self._check(size)
        self._divided = True
        return b"".join(lines).rstrip(_LINE_END)

    def _check(self, size: int) -> None:
        if size > BYTES_LIMIT:
            raise ValueError(f"a picture of {size} bytes, the limit is {BYTES_LIMIT}")

    def _line(self) -> bytes:
        line = self._response.readline(_LINE_BYTES)
        if not line:
            raise ConnectionError("the connection was closed")
        return line

    def _divides(self, line: bytes) -> bool:
        return line.startswith(b"--") and line.strip().strip(b"-") == self._boundary

    def _header(self) -> Message:
        header = Message()
        for _ in range(_HEADER_LINES):
            line = self._line().strip()
            if not line:
                return header
            name, _, value = line.decode("latin-1").partition(":")
            header[name.strip()] = value.strip()
        raise ValueError("a header that does not end")


def _seconds(text: str) -> float | None:
    """mjpg-streamer's X-Timestamp: seconds and microseconds by the camera's clock."""
    return float(text) if re.fullmatch(r"[0-9]{1,12}\.[0-9]{1,9}", text, re.ASCII) else None
