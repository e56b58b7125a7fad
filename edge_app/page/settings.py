"""How the page is served."""

import ipaddress
import re
from pathlib import Path

from msgspec import Struct

from limiar.edge_app.errors import LimiarError, printable

PORT = 8460
DEFAULT = f"127.0.0.1:{PORT}"
_LISTEN = re.compile(r"(localhost|[0-9.]{7,15}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})")


class PageSettings(Struct, frozen=True, kw_only=True):
    """What `limiar page` was started with."""

    state: Path  # the state folder
    address: str = "127.0.0.1"  # IPv4 or IPv6
    port: int = PORT  # 0: any free one
    hosts: tuple[str, ...] = ()  # further names under which browsers reach it
    read_only: bool = False  # for a wall screen: nothing can be changed
    token: bool = False  # ask for the token on loopback too
    certificate: Path | None = None  # PEM, with its chain; then the page speaks TLS
    key: Path | None = None  # PEM, of the certificate
    keys: tuple[Path, ...] = ()  # public keys of which one must have signed a bundle that is uploaded, besides those kept
    done: tuple[str, ...] = ("done",)  # folders into which the service moves what it has answered

    @property
    def asks_token(self) -> bool:
        """Whether a browser must give the token: always, unless only this machine can reach the page."""
        return self.token or not ipaddress.ip_address(self.address).is_loopback

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        address = ipaddress.ip_address(self.address)
        host = ("[::1]" if address.version == 6 else "127.0.0.1") if address.is_unspecified else self.address
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}/"


def listen_on(text: str) -> tuple[str, int]:
    """Address and port of "127.0.0.1:8460", "[::1]:8460" or "localhost:8460". Raises LimiarError E-PAGE-LISTEN."""
    found = _LISTEN.fullmatch(text)
    try:
        if not found or int(found[2]) >= 1 << 16:
            raise ValueError
        address = "127.0.0.1" if found[1] == "localhost" else str(ipaddress.ip_address(found[1].strip("[]")))
    except ValueError:
        met = f"{printable(text)} is not an address and port"
        raise LimiarError("E-PAGE-LISTEN", f"{met}: give one such as {DEFAULT}, or 0.0.0.0:{PORT} for the network") from None
    return address, int(found[2])
