"""Ports for servers that tests start beside each other."""

import random
import socket
from contextlib import suppress
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_RNG = random.SystemRandom()  # a worker of pytest beside this one may have the same seed


def free_port() -> int:
    """A port that nobody listens on now, and that the kernel gives to nobody who asks for any.

    One of the kernel's own could be taken before the server listens, or while it is away: by whoever connects somewhere.
    """
    first = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32768
    for _ in range(100):
        with suppress(OSError), socket.create_server(("127.0.0.1", _RNG.randrange(min(10_000, first // 2), first))) as server:
            port: int = server.getsockname()[1]
            return port
    raise OSError(f"no port below {first} is free")
