"""One question and one answer a connection, over a Unix socket in a folder that only its owner can enter.

Each is a line. The service never waits for a client: it takes what has come, and drops one that is slow or says too much.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from limiar.edge_app.system.clients import Clients

_LONGEST = 1 << 20  # bytes of a question or an answer
_CLIENTS = 16  # at once; another one waits in the kernel's queue
_WAIT_S = 0.05  # before another attempt to connect
ANSWER_S = 10.0  # how long a client waits for an answer


def ask(path: Path, question: bytes, timeout_s: float = ANSWER_S) -> bytes | None:
    """Asks the process that listens at `path`; None if none does. Raises OSError (TimeoutError: it does not answer)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_s)
        try:
            with _short(path) as name:
                _connect(client, name, time.monotonic() + timeout_s)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        client.sendall(question + b"\n")
        answer = b""
        while not answer.endswith(b"\n") and (more := client.recv(1 << 16)):
            answer += more
            if len(answer) > _LONGEST:
                raise OSError(f"the answer has over {_LONGEST >> 20} MiB")
        if not answer.endswith(b"\n"):
            raise ConnectionResetError("the service ended before it answered")
        return answer[:-1]


def _connect(client: socket.socket, name: str, until: float) -> None:
    """Waits for a place if many others wait, which connect(2) does not do for a socket with a timeout. Raises OSError."""
    while True:
        try:
            client.connect(name)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(_WAIT_S)


class Listener:
    """Answers questions at a path, in turns that do not wait. Use as a context manager: leaving removes the socket.

    The caller owns the folder's lock, so a socket that is already there was left by a killed process.
    """

    def __init__(self, path: Path, answer: Callable[[bytes], bytes]) -> None:
        """Raises OSError."""
        self._path = path
        # It gets its name once it listens: until then, a client would take it for one that a killed service has left.
        unheard = path.with_name(f".{path.name}.new")
        unheard.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            mask = os.umask(0o177)
            try:
                with _short(unheard) as name:
                    self._socket.bind(name)
            finally:
                os.umask(mask)
            self._socket.listen(_CLIENTS)
            unheard.replace(path)
        except BaseException:
            self._socket.close()
            unheard.unlink(missing_ok=True)
            raise

        def line(question: bytes) -> bytes:
            return answer(question.partition(b"\n")[0]) + b"\n"

        self._clients = Clients(self._socket, most=_CLIENTS, longest=_LONGEST, ends=b"\n", answer=line)

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self._clients.close()
        self._socket.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def turn(self) -> None:
        """Takes what has come and answers what is complete."""
        self._clients.turn()


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of under 108 bytes for a path of any length, as a Unix socket needs."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
