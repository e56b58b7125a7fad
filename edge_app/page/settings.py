"""How the page is served."""

import ipaddress
from pathlib import Path

from msgspec import Struct

PORT = 8460


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
    moved_to: tuple[str, ...] = ("done", "quarantine")  # folders into which the service moves files

    @property
    def asks_token(self) -> bool:
        """Whether a browser must give the token: always, unless only this machine can reach the page."""
        return self.token or not ipaddress.ip_address(self.address).is_loopback

    @property
    def in_clear(self) -> bool:
        """Whether others on the network can read along."""
        return self.certificate is None and not ipaddress.ip_address(self.address).is_loopback

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        address = ipaddress.ip_address(self.address)
        host = ("[::1]" if address.version == 6 else "127.0.0.1") if address.is_unspecified else self.address
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}/"
