"""Proxies that cut and stall connections, for tests and campaigns; what they carry is on this machine."""

import contextlib
import random
import select
import socket
import struct
import threading
import time
from abc import ABC, abstractmethod

_AT_ONCE = 1 << 14  # bytes
_STALL_S = (0.5, 3.0)


class Proxy(ABC):
    """It carries what comes to `port` to another port of this machine, each connection in a thread."""

    def __init__(self, server_port: int, rng: random.Random) -> None:
        self.connections = self.cuts = 0
        self._server_port, self._rng = server_port, rng
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """New connections are refused."""
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                client, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._opened, args=(client, self.connections), daemon=True).start()

    def _opened(self, client: socket.socket, number: int) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._server_port), 5) as server:
            self._carry(client, server, number)

    @abstractmethod
    def _carry(self, client: socket.socket, server: socket.socket, number: int) -> None:
        """Until one of them ends, or it is cut. number: of the connection, from 1. Raises OSError."""

    def _cut(self, *ends: socket.socket) -> None:
        """By a reset or an end, as it happens."""
        self.cuts += 1
        if self._rng.random() < 0.5:
            for one in ends:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class CuttingProxy(Proxy):
    """Cuts the first, third, fifth … connection after some of the bytes that the server sends."""

    def __init__(self, server_port: int, rng: random.Random, within: int, every: int = 2) -> None:
        """within: bytes, of which the cut is one. every: 1 cuts all connections."""
        super().__init__(server_port, rng)
        self._within, self.every = within, every
        self.sent = 0  # bytes, of the server

    @property
    def address(self) -> str:
        """As `bundles` in limiar.toml has it."""
        return f"https://127.0.0.1:{self.port}/limiar"

    def _carry(self, client: socket.socket, server: socket.socket, number: int) -> None:
        left = self._rng.randrange(self._within) if (number - 1) % self.every == 0 else None
        other = {client: server, server: client}
        while True:
            for one in select.select([client, server], [], [])[0]:
                data = one.recv(_AT_ONCE)
                if not data:
                    return
                if one is server and left is not None and len(data) >= left:
                    client.sendall(data[:left])
                    self._cut(client)
                    return
                other[one].sendall(data)
                if one is server:
                    self.sent += len(data)
                    left = left - len(data) if left is not None else None


class ChaosProxy(Proxy):
    """Cuts and stalls connections at random times."""

    def __init__(self, server_port: int, rng: random.Random, lasts_s: float) -> None:
        """lasts_s: the mean time until a connection is cut or stalled. Infinite: it only carries."""
        super().__init__(server_port, rng)
        self.lasts_s, self.stalls = lasts_s, 0

    @property
    def address(self) -> str:
        """As `broker` in limiar.toml has it."""
        return f"127.0.0.1:{self.port}"

    def _carry(self, client: socket.socket, server: socket.socket, number: int) -> None:
        other, ends_at = {client: server, server: client}, self._due()
        while True:
            ready = select.select([client, server], [], [], 0.2)[0]
            if time.monotonic() >= ends_at and self.lasts_s < float("inf"):
                if self._rng.random() < 0.4:
                    self.stalls += 1
                    time.sleep(self._rng.uniform(*_STALL_S))
                    ends_at = self._due()
                else:
                    for one in ready:  # in the middle of what is on its way, if there is something
                        data = one.recv(_AT_ONCE)
                        other[one].sendall(data[: self._rng.randrange(len(data) + 1)])
                    self._cut(client, server)
                    return
            for one in ready:
                data = one.recv(_AT_ONCE)
                if not data:
                    return
                other[one].sendall(data)

    def _due(self) -> float:
        return time.monotonic() + (self._rng.expovariate(1 / self.lasts_s) if self.lasts_s < float("inf") else 0.0)
