"""The text that a person gives for a source -> where the source is, and a name that may be shown.

A user name, password or token never reaches a message, a result or the database, however the address is misspelt: any part that
might be one is not shown.
"""

import os
import re
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

from limiar.edge_app.errors import SourceError, printable

_STREAMS = {"rtsp": "rtsp", "rtsps": "rtsp", "http": "http", "https": "http"}  # scheme -> kind
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]{1,15}:/|[^/]*://", re.IGNORECASE)
_SCHEME = re.compile(r"((?:(?:video|v4l2|picamera):\s*)*)([a-z][a-z0-9+.-]{1,15}:(?=/))?", re.IGNORECASE)
# Some cameras take user and password in the path: /user=admin_password=…_channel=1.
_SECRET = re.compile(r"((?:user(?:name)?|pass(?:word|wd)?|pwd|psw|token|auth|key|secret)=)[^/&;_]*", re.IGNORECASE)


class Address(Struct, frozen=True):
    """Where a source is."""

    kind: str  # video, v4l2, rtsp, http or picamera
    target: str  # a file, a device, a URL or a number
    name: str  # in results and messages: a URL without its password


def find_source(text: str) -> Address:
    """`video:FILE`, `v4l2:/dev/video0`, `/dev/video0`, `rtsp://…`, `http://…` or `picamera:0`. Raises SourceError."""
    text = text.lstrip()
    if text.partition(":")[0].lower() in _STREAMS:
        return _stream(text.rstrip())
    if text.startswith("/dev/"):
        text = f"v4l2:{text}"
    kind, _, target = text.partition(":")
    if kind == "v4l2" and target.isdecimal():
        target = f"/dev/video{target}"
    known = kind in ("video", "v4l2") or (kind == "picamera" and target.isdecimal())
    if not known or not target or (_may_hold_secrets(target) and not os.path.isfile(target)):
        forms = "video:FILE, v4l2:/dev/video0, rtsp://…, http://… or picamera:0"
        raise SourceError("E-SOURCE-UNKNOWN", f"{_shown(text.rstrip())} is not a source: give {forms}")
    return Address(kind, target, printable(f"{kind}:{target}"))


def _may_hold_secrets(target: str) -> bool:
    return bool(_ADDRESS.match(target.lstrip())) or (":" in target and "@" in target)


def _stream(text: str) -> Address:
    """Raises SourceError."""
    try:
        url = urlsplit(text)
        _ = url.port  # ValueError if it is not a number
    except ValueError:
        url = SplitResult("", "", "", "", "")
    # After an unquoted # / or ? in a password, what follows would be taken for the path.
    doubtful = "@" in url.path + url.query + url.fragment or not text.isprintable() or " " in text
    if not url.hostname or doubtful:
        cure = "write special characters of user and password as %23 for #, %2F for /, %3F for ?, %5B for [, %40 for @"
        raise SourceError("E-SOURCE-UNKNOWN", f"{_shown(text)} is not an address: {cure}")
    path = _SECRET.sub(r"\1…", url.path)
    return Address(_STREAMS[url.scheme], text, printable(f"{url.scheme}://{url.netloc.rpartition('@')[2]}{path}"))


def _shown(text: str) -> str:
    """The parts of a text that certainly have no secret: what follows the last @, without a query."""
    start = _SCHEME.match(text)
    assert start  # it may be empty
    before, at, rest = text[start.end() :].rpartition("@")
    # An @ behind a ? may belong to the query.
    shown = "…" if at and ("?" in before or "#" in before) else re.split(r"[?#]", rest, maxsplit=1)[0]
    shown = _SECRET.sub(r"\1…", shown.lstrip("/") if start[2] else shown)
    return printable(f"{start[0]}//{shown}" if start[2] else f"{start[0]}{shown}")
