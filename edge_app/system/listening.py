"""Where a server listens, as people write it."""

import ipaddress
import re

from limiar.edge_app.errors import LimiarError, printable

_LISTEN = re.compile(r"(localhost|[0-9.]{7,15}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})")


def listen_on(text: str) -> tuple[str, int]:
    """Address and port of "127.0.0.1:8460", "[::1]:8460" or "localhost:8460". Raises LimiarError E-PAGE-LISTEN."""
    found = _LISTEN.fullmatch(text)
    try:
        if not found or int(found[2]) >= 1 << 16:
            raise ValueError
        address = "127.0.0.1" if found[1] == "localhost" else str(ipaddress.ip_address(found[1].strip("[]")))
    except ValueError:
        met = f"{printable(text)} is not an address and port"
        raise LimiarError("E-PAGE-LISTEN", f"{met}: give one such as 127.0.0.1:8460, or 0.0.0.0:8460 for the network") from None
    return address, int(found[2])
