"""Asks a Raspberry Pi's firmware, by its command `vcgencmd`."""

import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable

Ask = Callable[[str], str | None]  # "get_throttled" -> "throttled=0x0"; None: no answer

_ANSWER_S = 2.0  # one that hangs must not hold up a run for long
_MOST = 1 << 14  # bytes of an answer; pmic_read_adc's has 1,100


def find_vcgencmd() -> Ask | None:
    """The command in PATH; None if there is none, as on any board that is not a Raspberry Pi.

    Once it has not answered in time it is not asked again.
    """
    path = shutil.which("vcgencmd")
    if path is None:
        return None
    hangs = False

    def ask(what: str) -> str | None:
        nonlocal hangs
        if hangs:
            return None
        try:
            return _said([path, what])
        except TimeoutError:
            hangs = True
            return None

    return ask


class Patient:
    """Asks without waiting: each call gives the answer to the same question that was asked before, and asks again.

    For a process that must not be held up: a call takes the milliseconds that starting a process takes.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._asked: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def find(cls) -> "Ask | None":
        """For the command in PATH; None if there is none."""
        path = shutil.which("vcgencmd")
        return cls(path) if path else None

    def __call__(self, what: str) -> str | None:
        """None at first, and while it hangs: then it is killed, and not asked again until it is gone."""
        before, answer = self._asked.get(what), None
        if before:
            assert before.stdout
            if before.poll() is None:
                before.kill()
                return None
            os.set_blocking(before.stdout.fileno(), False)  # if a child of it still has the other end
            with before.stdout:
                answer = (
                    (before.stdout.read(_MOST) or b"").decode("utf-8", "replace").strip() if before.returncode == 0 else None
                )
        try:
            self._asked[what] = subprocess.Popen(
                [self._path, what], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
            )
        except OSError:
            self._asked.pop(what, None)
        return answer


def _said(command: list[str]) -> str | None:
    """What a command prints, at most `_MOST` bytes; None if it fails. Raises TimeoutError."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
    except OSError:  # it is not for this machine
        return None
    assert process.stdout
    until, read, more = time.monotonic() + _ANSWER_S, b"", b"?"
    with process.stdout:
        while more and len(read) < _MOST:
            if not select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                process.kill()
                process.wait()
                raise TimeoutError
            more = os.read(process.stdout.fileno(), _MOST - len(read))
            read += more
    try:
        done = process.wait(max(0.0, until - time.monotonic()) if not more else 0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise TimeoutError from None
    return read.decode("utf-8", "replace").strip() if done == 0 else None
