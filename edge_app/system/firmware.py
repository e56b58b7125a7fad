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
