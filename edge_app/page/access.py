"""The token that opens the page to browsers elsewhere, and the secret that signs sessions: STATE/page.json.

Of the token only its sha256 is kept: it has 192 random bits, so a slow hash would add nothing. A new token ends all sessions,
because the secret is new too.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from limiar.edge_app.errors import LimiarError, printable
from limiar.edge_app.system.files import read_bounded, write_whole

FILE = "page.json"
_BYTES = 4096
_Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Kept(Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    secret: _Hex
    token_sha256: _Hex | None = None  # None: no token was made


class Access:
    """What a state folder's page asks for. The file is looked at again when it changes: a new token counts at once."""

    def __init__(self, state: Path) -> None:
        """Makes the file if there is none. Raises LimiarError E-PAGE-ACCESS."""
        self._path = state / FILE
        if not os.path.lexists(self._path):
            _write(self._path, Kept(secrets.token_hex(32)))
        self._seen: tuple[int, int, int] | None = None
        self._kept = self.kept

    @property
    def kept(self) -> Kept:
        """As it is now. Raises LimiarError E-PAGE-ACCESS."""
        try:
            found = os.stat(self._path)
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                self._kept = msgspec.json.decode(read_bounded(self._path, _BYTES), type=Kept)
                self._seen = seen
        except (OSError, msgspec.MsgspecError) as error:
            met = f"{printable(str(self._path))} cannot be read ({getattr(error, 'strerror', None) or error})"
            raise LimiarError("E-PAGE-ACCESS", f"{met}: make a new token with `limiar page --new-token`") from None
        return self._kept

    @property
    def secret(self) -> bytes:
        """What signs sessions. Raises LimiarError E-PAGE-ACCESS."""
        return bytes.fromhex(self.kept.secret)

    def opens(self, token: str) -> bool:
        """Whether this is the token; takes the same time whatever is given. Raises LimiarError E-PAGE-ACCESS."""
        wanted = self.kept.token_sha256 or ""
        return hmac.compare_digest(hashlib.sha256(token.encode(errors="replace")).hexdigest(), wanted)


def new_token(state: Path) -> str:
    """Makes a token and returns it: nothing else can tell it later. Raises LimiarError E-PAGE-ACCESS."""
    token = secrets.token_urlsafe(24)
    _write(state / FILE, Kept(secrets.token_hex(32), hashlib.sha256(token.encode()).hexdigest()))
    return token


def _write(path: Path, kept: Kept) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = os.umask(0o177)  # for this process: no thread runs yet
        try:
            write_whole(path, msgspec.json.encode(kept))
        finally:
            os.umask(mask)
    except OSError as error:
        met = f"{printable(str(path))}: {error.strerror}"
        raise LimiarError("E-PAGE-ACCESS", f"{met}: run this as the user whose state folder it is") from None
