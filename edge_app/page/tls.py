"""TLS in front of waitress, which speaks none: a thread that accepts, decrypts, and hands on one end of a socket pair.

So no other process can reach what is behind it, and waitress knows the address of each client.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from asyncio.sslproto import SSLProtocol
from pathlib import Path

from limiar.edge_app.errors import LimiarError, printable
from limiar.edge_app.page.connections import Taken

_HANDSHAKE_S = 5.0
_HANDSHAKES = 100  # at once; a further one ends the oldest
_LAST_S = 30.0  # for what is still to be sent when waitress has closed the connection
_ENDING_S = 1.0
_RECEIVED = 32 << 10  # bytes that asyncio keeps for each connection, of its 256 kB: 250 idle ones took 70 MB
_BYTES = 64 << 10  # of a connection and direction, at most


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or later, with the interpreter's choice of ciphers. Raises LimiarError E-PAGE-CERTIFICATE."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_RENEGOTIATION  # which costs the server more than who asks for it
    made.set_alpn_protocols(["http/1.1"])
    try:
        made.load_cert_chain(certificate, key, password="")  # a key with a password is refused, not asked for
    except (OSError, ValueError) as error:  # SSLError is an OSError
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        met = f"{printable(str(certificate))} and {printable(str(key))} cannot be used ({why})"
        raise LimiarError(
            "E-PAGE-CERTIFICATE", f"{met}: give a PEM certificate with its chain, and its key without a password"
        ) from None
    return made


class Front:
    """Use as a context manager: leaving it ends the thread and all connections."""

    def __init__(self, secured: ssl.SSLContext, listening: socket.socket, taken: Taken) -> None:
        """taken: gets a socket that speaks plain HTTP, and whose it is; called in the thread."""
        self._context, self._listening, self._taken = secured, listening, taken
        SSLProtocol.max_size = _RECEIVED
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tls", daemon=True)
        self._main: asyncio.Task[None]
        self._shaking: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._open: set[asyncio.Task[None]] = set()

    def __enter__(self) -> "Front":
        self._main = self._loop.create_task(self._accept())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join(2 * _ENDING_S)

    def _run(self) -> None:
        # The handshakes of others fail all the time, and asyncio would report them.
        self._loop.set_exception_handler(lambda *_: None)
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._main)
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=_ENDING_S)

    async def _accept(self) -> None:
        while True:
            try:
                connection, address = await self._loop.sock_accept(self._listening)
            except OSError:  # too many descriptors, or gone again
                await asyncio.sleep(0.1)
                continue
            if len(self._shaking) >= _HANDSHAKES:
                next(iter(self._shaking)).cancel()
            task = self._loop.create_task(self._serve(connection, address[:2]))
            self._open.add(task)
            self._shaking[task] = None
            task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Task[None]") -> None:
        self._open.discard(task)
        self._shaking.pop(task, None)
        if not task.cancelled():
            task.exception()  # fetched, so that nobody reports it

    async def _serve(self, connection: socket.socket, address: tuple[str, int]) -> None:
        client = await self._shake(connection)
        self._shaking.pop(asyncio.current_task(), None)  # type: ignore[arg-type]
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self._taken(theirs, address)
        server = await asyncio.open_connection(sock=ours, limit=_BYTES)
        ways = {asyncio.ensure_future(_copy(client[0], server[1])), asyncio.ensure_future(_copy(server[0], client[1]))}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            server[1].close()
            client[1].close()
            try:
                await asyncio.wait_for(client[1].wait_closed(), _LAST_S)
            except (OSError, TimeoutError):
                client[1].transport.abort()

    async def _shake(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader = asyncio.StreamReader(limit=_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=_HANDSHAKE_S,
                ssl_shutdown_timeout=_LAST_S,
            )
        except BaseException:
            connection.close()
            raise
        return reader, asyncio.StreamWriter(transport, protocol, reader, self._loop)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_BYTES):
        writer.write(data)
        await writer.drain()
