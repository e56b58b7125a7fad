"""Whole messages over a socket between a process and its child, each after its length.

A child can be killed, or stopped, in the middle of a message. So the parent's end never waits for the rest of one: it takes
what has come, and keeps the start of an unfinished message and whatever the child has not read yet. The child's end waits.
"""

import math
import os
import socket
import struct
import time
from collections import deque
from select import POLLIN, POLLOUT, poll

_LENGTH = struct.Struct("!Q")  # bytes of the message that follows
_AT_ONCE = 1 << 18  # bytes per read, at most
_LONGEST = 1 << 28  # bytes; if a child announces more, its memory was overwritten


def channel() -> tuple["ParentEnd", "WorkerEnd"]:
    """Both ends of a new channel. Raises OSError."""
    parent, worker = socket.socketpair()
    return ParentEnd(parent), WorkerEnd(worker)


class WorkerEnd:
    """Sends and receives, waiting until that is done. Raises OSError and EOFError once the other end is closed."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()

    def waits(self) -> bool:
        """Whether something came, or the other end was closed: then `receive` returns, or raises, soon."""
        return _readable(self._end, 0)

    def send(self, message: bytes) -> None:
        self._end.sendall(_LENGTH.pack(len(message)) + message)

    def receive(self) -> bytes:
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        return self._read(length)

    def _read(self, length: int) -> bytes:
        data = bytearray(length)
        left = memoryview(data)
        while left:
            count = self._end.recv_into(left)
            if count == 0:
                raise EOFError
            left = left[count:]
        return bytes(data)


class ParentEnd:
    """Sends and receives as much as it can without waiting. Raises EOFError once the other end is lost."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._end.setblocking(False)
        self._unsent = b""
        self._received = bytearray()
        self._whole: deque[bytes] = deque()  # messages that `next` has received and not returned yet

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()

    @property
    def unsent(self) -> bool:
        """Whether something is left for `flush` to send once the socket takes more."""
        return bool(self._unsent)

    def send(self, message: bytes) -> None:
        self._unsent += _LENGTH.pack(len(message)) + message
        self.flush()

    def flush(self) -> None:
        left = memoryview(self._unsent)
        try:
            while left:
                left = left[self._end.send(left) :]
        except BlockingIOError:
            pass  # the socket is full
        except OSError:  # the child died: `receive` finds that out
            left = left[:0]
        self._unsent = bytes(left)

    def next(self, timeout_s: float) -> bytes | None:
        """The next message; None if it is not complete within this time. Raises EOFError if no more can come."""
        until = time.monotonic() + timeout_s
        while not self._whole:
            events = _events(self._end, max(0.0, until - time.monotonic()), POLLIN | (POLLOUT if self._unsent else 0))
            if not events:
                return None
            if events & POLLOUT:
                self.flush()
            if events & ~POLLOUT:
                self._whole += self.receive()
        return self._whole.popleft()

    def receive(self) -> list[bytes]:
        """The messages that are complete by now. Raises EOFError if no more can come."""
        try:
            data = os.read(self._end.fileno(), _AT_ONCE)
        except BlockingIOError:
            return []
        except OSError:
            raise EOFError from None
        if not data:
            raise EOFError
        self._received += data
        messages = []
        while len(self._received) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._received)
            if length > _LONGEST:
                raise EOFError
            end = _LENGTH.size + length
            if len(self._received) < end:
                break
            messages.append(bytes(self._received[_LENGTH.size : end]))
            del self._received[:end]
        return messages


def _readable(end: socket.socket, timeout_s: float) -> bool:
    return bool(_events(end, timeout_s, POLLIN))


def _events(end: socket.socket, timeout_s: float, wanted: int) -> int:
    """What can be done, or went wrong, within this time; 0 for nothing."""
    waiting = poll()  # unlike select(2), for any descriptor
    waiting.register(end, wanted)
    return next((events for _, events in waiting.poll(math.ceil(timeout_s * 1000))), 0)
