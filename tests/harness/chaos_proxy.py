"""A proxy whose connections are cut or stalled at random times, for campaigns."""

import contextlib
import random
import select
import socket
import struct
import threading
import time

_AT_ONCE = 1 << 14  # bytes
_STALL_S = (0.5, 3.0)


class ChaosProxy:
    """It carries what comes to its own port to another one of this machine."""

    def __init__(self, port: int, rng: random.Random, lasts_s: float) -> None:
        """lasts_s: the mean time until a connection is cut or stalled. Infinite: it only carries."""
        self._server, self._rng, self.lasts_s = port, rng, lasts_s
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.cuts = self.stalls = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._server), 5) as server:
            other, ends_at = {client: server, server: client}, self._due()
            while True:
                ready = select.select([client, server], [], [], 0.2)[0]
                if time.monotonic() >= ends_at and self.lasts_s < float("inf"):
                    if self._rng.random() < 0.4:
                        self.stalls += 1
                        time.sleep(self._rng.uniform(*_STALL_S))
                        ends_at = self._due()
                    else:
                        self._cut(client, server, ready)
                        return
                for one in ready:
                    data = one.recv(_AT_ONCE)
                    if not data:
                        return
                    other[one].sendall(data)

    def _due(self) -> float:
        return time.monotonic() + (self._rng.expovariate(1 / self.lasts_s) if self.lasts_s < float("inf") else 0.0)

    def _cut(self, client: socket.socket, server: socket.socket, ready: list[socket.socket]) -> None:
        """In the middle of what is on its way, if there is something; by an end or a reset."""
        self.cuts += 1
        for one in ready:
            data = one.recv(_AT_ONCE)
            (server if one is client else client).sendall(data[: self._rng.randrange(len(data) + 1)])
        if self._rng.random() < 0.5:
            for one in (client, server):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
