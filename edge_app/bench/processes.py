"""The parent's side of the repeat processes: runs one after another, and has the board watched meanwhile."""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from typing import IO

import msgspec

from limiar.edge_app.bench.plan import Plan
from limiar.edge_app.bench.repeat import Measured, Message, Progress
from limiar.edge_app.bench.timing import Tell
from limiar.edge_app.errors import LimiarError, RuntimeUnavailable, printable
from limiar.edge_app.system.python import python_m

_POLL_S = 0.1
_SILENT_S = 300.0  # without a message: a round of the slowest model on the slowest board takes less
_AT_ONCE = 1 << 20  # bytes
_REFUSED = re.compile(r"(E-[A-Z0-9-]+): (.+)")  # a LimiarError, as a process says it
_MESSAGES = msgspec.json.Decoder(Message)


def run_repeat(plan: Plan, poll: Callable[[], None], progress: Tell) -> Measured:
    """Runs one repeat process. poll: called at least every 100 ms. Raises LimiarError: what it met, or that it is lost."""
    with _in_memory() as given, _in_memory() as said:
        given.write(msgspec.json.encode(plan))
        given.seek(0)
        process = subprocess.Popen(
            python_m("limiar.edge_app.bench.repeat", str(os.getpid())),
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=said,
            process_group=0,  # not the terminal's: this process deals with Ctrl-C
        )
        try:
            measured = _followed(process, poll, progress)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            status = process.wait()
        if measured is not None:
            return measured
        said.seek(0)
        lines = said.read(_AT_ONCE).decode("utf-8", "replace").strip().splitlines()
    if status > 0 and lines and (refused := _REFUSED.fullmatch(lines[-1])):
        raise LimiarError(refused[1], refused[2])
    killed = status == -signal.SIGKILL
    met = lines[-1] if lines and status > 0 else "fell silent, or was killed" if killed else f"ended with {status}"
    cure = "try another --runtime" if plan.bare else "leave out the file that does it, with --file"
    raise RuntimeUnavailable("E-BENCH-LOST", f"the process that measures {printable(met)}: {cure}")


def _in_memory() -> IO[bytes]:
    """A file without a disk: a device's may be read-only."""
    return open(os.memfd_create("bench"), "w+b")


def _followed(process: "subprocess.Popen[bytes]", poll: Callable[[], None], progress: Tell) -> Measured | None:
    """The process's messages until the last one; None: it ended before, or said nothing for too long."""
    assert process.stdout
    left = b""
    heard = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() - heard < _SILENT_S:
            poll()
            if not selector.select(_POLL_S):
                continue
            data = os.read(process.stdout.fileno(), _AT_ONCE)
            if not data:
                process.wait()
                return None
            heard = time.monotonic()
            *lines, left = (left + data).split(b"\n")
            for line in lines:
                try:
                    message = _MESSAGES.decode(line)
                except msgspec.MsgspecError:  # a runtime may print what it likes
                    continue
                if isinstance(message, Measured):
                    return message
                assert isinstance(message, Progress)
                progress(message.what, message.done, message.total)
    return None
