"""Reads many images in processes of their own, each image within limits of time and memory; those over a limit are refused.

As in `limiar scan`, no image can end or stop the process that asks: images may come from strangers.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait

import msgspec
from msgspec import Struct

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import DataError, ImageError
from limiar.edge_app.system.process import cpu_s
from limiar.edge_app.system.python import python_c
from limiar.train.dataset.dicom_facts import DicomFacts

CPU_S = 10.0  # of computing, for one image: the largest that the rules take needs two
WALL_S = 60.0  # for one image, even if the disk or the machine is busy with other things
MEMORY_BYTES = 1 << 30  # for one image; studies/decode_memory.py has the most that one took
_START_S = 120.0  # imports, on a busy machine
_STARTS = 3  # processes that may end while they import
_TASK_ITEMS = 32  # enough that the pipe costs little
_READERS = 4  # at most: a disk feeds no more
_KEY_BYTES = 32
_TICK_S = 0.25  # how often the time is looked at


class Item(Struct, frozen=True, array_like=True):
    """An image to read."""

    row: int
    path: bytes
    name: bytes  # relative to the data folder
    known: bytes = b""  # sha256 of the file whose pixels are kept already


class ReadJob(Struct, frozen=True, array_like=True):
    """How images become inputs."""

    input: InputSpec
    memory_bytes: int
    key: bytes  # of this reading: see DicomFacts.patient


class Decoded(Struct, frozen=True, array_like=True, tag=True):
    """What an image is."""

    row: int
    sha256: bytes
    size: int  # bytes of the file
    shape: tuple[int, ...]  # (H, W) if grey, (H, W, 3) if RGB; () if the pixels are known
    tensor: bytes | None  # uint8 [H, W, C] of the model's input; None if they are known
    dicom: DicomFacts | None = None  # None: not DICOM


class RefusedImage(Struct, frozen=True, array_like=True, tag=True):
    """An image that cannot be used, and why."""

    row: int
    code: str
    message: str

    @property
    def error(self) -> ImageError:
        """The error that decoding it here would raise."""
        return ImageError(self.code, self.message)


Outcome = Decoded | RefusedImage
_OUTCOMES = msgspec.msgpack.Decoder(Outcome)


class ReadLimits(Struct, frozen=True):
    """Of one image."""

    cpu_s: float = CPU_S
    wall_s: float = WALL_S
    memory_bytes: int = MEMORY_BYTES


USUAL = ReadLimits()


def read_all(items: Sequence[Item], spec: InputSpec, limits: ReadLimits = USUAL) -> Iterator[Outcome]:
    """The outcome of each item, in the order in which they arrive. Raises DataError if no process can be started."""
    tasks = deque(list(items[at : at + _TASK_ITEMS]) for at in range(0, len(items), _TASK_ITEMS))
    job = ReadJob(spec, limits.memory_bytes, secrets.token_bytes(_KEY_BYTES))
    readers = [_Reader(job, limits) for _ in range(min(_READERS, len(os.sched_getaffinity(0)), len(tasks)))]
    starts = _STARTS
    again: set[int] = set()  # rows that a process was killed over once
    try:
        while tasks or any(reader.left for reader in readers):
            for reader in readers:
                if reader.ready and not reader.left and tasks:
                    reader.give(tasks.popleft())
            answering = {reader.connection: reader for reader in readers}
            for connection in wait(list(answering), min(_TICK_S, limits.cpu_s, limits.wall_s)):
                yield from answering[connection].received()  # type: ignore[index]  # wait() gives back what it was given
            for k, reader in enumerate(readers):
                if reader.lost_at_start and (starts := starts - 1):
                    reader.end()
                    readers[k] = _Reader(job, limits)
                elif reader.left and reader.killed and (row := reader.left[0].row) not in again:
                    again.add(row)
                    tasks.appendleft(list(reader.left))
                    reader.end()
                    readers[k] = _Reader(job, limits)
                elif fault := reader.fault():
                    yield fault
                    if reader.left:
                        tasks.appendleft(list(reader.left))
                    reader.end()
                    readers[k] = _Reader(job, limits)
    finally:
        for reader in readers:
            reader.end()


class _Reader:
    """A process and what it has been given to read."""

    def __init__(self, job: ReadJob, limits: ReadLimits) -> None:
        self._limits = limits
        self.left: deque[Item] = deque()
        self.ready = self._lost = False
        ours, theirs = socket.socketpair()
        code = f"from limiar.train.dataset.reader import main; main({theirs.fileno()}, {os.getpid()})"
        # The same modules as in this process. numpy's threads would be for nothing: see edge_app/scan/fork.py.
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            self._process = subprocess.Popen(
                python_c(code),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # libtiff writes its warnings there
                pass_fds=(theirs.fileno(),),
                env=environment,
            )
        except OSError as error:
            ours.close()
            raise _unstarted(str(error.strerror)) from None
        finally:
            theirs.close()
        self.connection = Connection(ours.detach())
        self._send(msgspec.msgpack.encode(job))
        self._start_clock()

    def give(self, items: list[Item]) -> None:
        self.left.extend(items)
        self._send(msgspec.msgpack.encode(items))
        self._start_clock()

    def received(self) -> Iterator[Outcome]:
        """The outcomes that have arrived."""
        try:
            message = self.connection.recv_bytes()
        except (EOFError, OSError):
            self._lost = True
            return
        self._start_clock()
        if not self.ready:
            self.ready = True
            return
        self.left.popleft()
        yield _OUTCOMES.decode(message)

    @property
    def lost_at_start(self) -> bool:
        """Whether it ended before it could be given anything."""
        return self._lost and not self.ready

    @property
    def killed(self) -> bool:
        """Whether it ended by SIGKILL: the kernel was out of memory, which is mostly not the image's fault."""
        try:
            return self._lost and self._process.wait(_TICK_S) == -signal.SIGKILL
        except subprocess.TimeoutExpired:
            return False

    def fault(self) -> RefusedImage | None:
        """The image that ended it, taken off its list; None if all is well. Raises DataError if it has not even started."""
        waited = time.monotonic() - self._since
        if not self.ready:
            if self._lost or waited > _START_S:
                raise _unstarted(f"it ended with {self._process.poll()}" if self._lost else f"took over {_START_S:.0f} s")
            return None
        if self._lost:
            row = self.left.popleft().row if self.left else None
            said = "crashed the process that decoded it: set it aside and report it"
            return None if row is None else RefusedImage(row, "E-IMAGE-CRASH", said)
        if not self.left or waited < min(self._limits.cpu_s, self._limits.wall_s):
            return None
        over_s = self._limits.cpu_s if cpu_s(self._process.pid) - self._cpu_since > self._limits.cpu_s else None
        over_s = self._limits.wall_s if over_s is None and waited > self._limits.wall_s else over_s
        if over_s is None:
            return None
        return RefusedImage(self.left.popleft().row, "E-IMAGE-TIMEOUT", f"took over {over_s:g} s to decode: make it smaller")

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self.connection.close()

    def _send(self, message: bytes) -> None:
        try:
            self.connection.send_bytes(message)
        except OSError:
            self._lost = True

    def _start_clock(self) -> None:
        # Only its own computing counts: a busy machine is not the image's fault.
        self._since, self._cpu_since = time.monotonic(), cpu_s(self._process.pid)


def _unstarted(reason: str) -> DataError:
    return DataError("E-DATA-READER", f"the process that decodes images did not start ({reason}): run limiar doctor")
