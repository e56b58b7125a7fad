"""Clients of a listening socket, each with one question and one answer, in the loop of a process that waits for nobody.

No threads: a turn takes what has come and sends what can be sent. A client that is slow, or says too much, is dropped.
"""

import contextlib
import socket
import time
from collections.abc import Callable

_CLIENT_S = 5.0  # for a client to say its question and to take its answer
_AT_ONCE = 1 << 16  # bytes of a read


class Clients:
    """Those that are connected now; others wait in the kernel's queue."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        most: int,
        longest: int,
        ends: bytes,
        answer: Callable[[bytes], bytes],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """listener: bound, not blocking. most: clients at once. longest: bytes of a question, which has `ends` in it.

        answer: question -> answer; called in a turn.
        """
        self._listener, self._most, self._longest, self._ends = listener, most, longest, ends
        self._answer, self._now = answer, now
        self._clients: dict[socket.socket, _Client] = {}

    def turn(self) -> None:
        """Takes what has come and sends what is due; waits for nobody. Raises what `answer` raises."""
        while len(self._clients) < self._most:
            try:
                client, _ = self._listener.accept()
            except OSError:  # nobody, or no descriptor is left for now
                break
            client.setblocking(False)
            self._clients[client] = _Client(self._now() + _CLIENT_S)
        for client, state in list(self._clients.items()):
            try:
                done = self._serve(client, state) or self._now() > state.until
            except OSError:  # it has gone
                done = True
            if done:
                client.close()
                del self._clients[client]

    def close(self) -> None:
        """Drops them all."""
        for client in self._clients:
            client.close()
        self._clients.clear()

    def _serve(self, client: socket.socket, state: "_Client") -> bool:
        """Whether it is done. Raises OSError."""
        with contextlib.suppress(BlockingIOError):
            if state.unsent is None:
                more = client.recv(_AT_ONCE)
                state.question += more
                if not more or len(state.question) > self._longest:
                    return True
                if self._ends not in state.question:
                    return False
                state.unsent = self._answer(state.question)
            state.unsent = state.unsent[client.send(state.unsent) :]
        return state.unsent == b""


class _Client:
    def __init__(self, until: float) -> None:
        self.until = until
        self.question = b""
        self.unsent: bytes | None = None  # None: the question is not complete
