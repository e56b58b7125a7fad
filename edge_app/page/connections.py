"""waitress, with bounds on what a connection may take: time, and its place among the others."""

import socket
import time
from collections.abc import Callable
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer

Taken = Callable[[socket.socket, tuple[str, int]], None]  # a connection, and whose it is
CONNECTIONS = 200  # open at once; each has up to 3 descriptors, of the 1,024 that a process may open
_REQUEST_S = 15.0  # for a request to come whole
_SLOWEST = 16 << 10  # bytes/s; a body gets longer, as it comes


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """A request."""

    def parse_header(self, header_plus: bytes) -> None:
        """Refuses what a proxy before this one could take for two requests."""
        super().parse_header(header_plus)
        if "TRANSFER_ENCODING" in self.headers or (self.chunked and "CONTENT_LENGTH" in self.headers):
            raise ParsingError("Transfer-Encoding and Content-Length, or HTTP/1.0")


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection."""

    parser_class = Parser

    def __init__(self, *given: Any, **named: Any) -> None:
        self.quiet_since_s = self._begun_s = time.time()  # the clock of waitress; a step of it costs connections, no more
        self._bytes = 0
        super().__init__(*given, **named)

    def received(self, data: bytes) -> bool:
        """Takes what came."""
        if self.request is None:
            self._begun_s, self._bytes = time.time(), 0
        self._bytes += len(data)
        done = bool(super().received(data))
        if self.request is None:
            self.quiet_since_s = time.time()
        return done

    def stuck(self, now_s: float) -> bool:
        """Whether there is something to send, and the other end has taken nothing for long."""
        return bool(self.total_outbufs_len) and now_s - self.last_activity > self.adj.channel_timeout

    def late(self, now_s: float) -> bool:
        """Whether a request has begun to come, and does not get on."""
        return self.request is not None and now_s - self._begun_s > _REQUEST_S + self._bytes / _SLOWEST


class Server(TcpWSGIServer):  # type: ignore[misc]
    """Where there are too many connections, the one that has gone longest without a request makes room for a new one."""

    channel_class = Channel

    def run(self) -> None:
        """Until SystemExit is raised in it."""
        try:
            self.asyncore.loop(self.adj.asyncore_loop_timeout, self.adj.asyncore_use_poll, self._map)
        except SystemExit:
            for channel in tuple(self.active_channels.values()):
                channel.handle_close()  # or a thread waits for one that takes nothing, and the page for the thread
            self.task_dispatcher.shutdown()

    def maintenance(self, now: float) -> None:
        """Ends connections that are idle or late, or whose other end takes nothing: a thread may be waiting for it."""
        for channel in tuple(self.active_channels.values()):
            if channel.will_close or channel.stuck(now):
                channel.handle_close()  # waitress alone waits until what is left can be sent
            elif channel.late(now):
                channel.will_close = True
        super().maintenance(now)

    def handle_accept(self) -> None:
        """Takes a connection that came."""
        self._make_room()
        super().handle_accept()

    def take(self, connection: socket.socket, address: tuple[str, int]) -> None:
        """Takes a connection that someone else accepted. Called in any thread."""

        def took() -> None:
            self._make_room()
            self.channel_class(self, connection, address, self.adj, map=self._map)

        self.trigger.pull_trigger(took)

    def _make_room(self) -> None:
        open_ones = [channel for channel in self.active_channels.values() if not channel.will_close]
        if len(open_ones) >= CONNECTIONS:
            idle = [channel for channel in open_ones if not channel.requests]
            if idle:
                min(idle, key=lambda channel: channel.quiet_since_s).will_close = True
