"""Lines for the journal, or for a terminal: each with its level and code, and a state that lasts is one line.

    log.warning("W-CLOCK-UNTRUSTED", "the clock shows 1970")
    log.state("disk", "error", "E-STORE-FULL", "the disk is full")  # as often as it is seen
    log.over("disk", "there is space again")

Under systemd a line begins with its level as sd-daemon(3) has it, elsewhere with the time.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import Literal, TextIO

from msgspec import Struct

from limiar.edge_app.system.clock import utc_now
from limiar.edge_app.text import counted, for_terminal, without_passwords

Level = Literal["error", "warning", "info"]

_PRIORITY = {"error": 3, "warning": 4, "info": 6}  # syslog(3)
_REMIND_S = 3600.0  # for a state that lasts
_LINES = 12  # of one key in an hour; a state that comes and goes gets no more
_LONGEST = 2000  # characters of a message


class _State(Struct):
    level: Level
    code: str
    message: str
    since: float
    seen: int
    said: float  # when its last line was written


class _Budget(Struct):
    since: float
    lines: int = 0
    silent: int = 0


class Log:
    """Writes lines."""

    def __init__(
        self,
        level: Level = "info",
        stream: TextIO | None = None,
        now: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        """level: the least important one that is written. stream: None for stderr."""
        self._least = _PRIORITY[level]
        self._stream = stream or sys.stderr
        self._now = now
        self._journal = is_journal(self._stream)
        self._states: dict[str, _State] = {}
        self._budgets: dict[str, _Budget] = {}

    def error(self, code: str, message: str) -> None:
        """Something does not work."""
        self._write("error", code, message)

    def warning(self, code: str, message: str) -> None:
        """Something should be looked at."""
        self._write("warning", code, message)

    def info(self, code: str, message: str) -> None:
        """Something happened."""
        self._write("info", code, message)

    def state(self, key: str, level: Level, code: str, message: str) -> None:
        """A state was seen, for the first time or again: a line when it begins or gets another code, and one an hour."""
        now, state = self._now(), self._states.get(key)
        if state is None:
            self._states[key] = _State(level, code, message, now, 1, now)
            self._change(key, level, code, message)
            return
        state.seen += 1
        state.message = message
        if state.code != code:
            state.level, state.code, state.said = level, code, now
            self._change(key, level, code, message)
        elif now - state.said >= _REMIND_S:
            state.said = now
            self._write(level, code, f"{message} ({self._lasted(state)})")

    def over(self, key: str, message: str) -> None:
        """The state has ended; nothing is written if it had not begun."""
        if state := self._states.pop(key, None):
            self._change(key, "info", state.code, f"{message} ({self._lasted(state)})")

    def _lasted(self, state: _State) -> str:
        return f"after {duration(self._now() - state.since)}, seen {counted(state.seen, 'time')}"

    def _change(self, key: str, level: Level, code: str, message: str) -> None:
        """A line about a key that has not had too many."""
        now, budget = self._now(), self._budgets.get(key)
        if budget is None or now - budget.since >= _REMIND_S:
            if budget and budget.silent:
                message += f" (and {counted(budget.silent, 'line')} that were not written, since it comes and goes)"
            self._budgets[key] = budget = _Budget(now)
        if budget.lines < _LINES:
            budget.lines += 1
            self._write(level, code, message)
        else:
            budget.silent += 1

    def _write(self, level: Level, code: str, message: str) -> None:
        if _PRIORITY[level] > self._least:
            return
        text = for_terminal(without_passwords(f"{code}: {message}"[:_LONGEST]))
        line = f"<{_PRIORITY[level]}>{text}" if self._journal else f"{utc_now()} {level} {text}"
        with contextlib.suppress(OSError, ValueError):  # a full disk, a closed terminal: no reason to stop
            self._stream.write(line + "\n")
            self._stream.flush()


def is_journal(stream: TextIO) -> bool:
    """Whether systemd reads this stream: JOURNAL_STREAM has its device and inode (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def duration(seconds: float) -> str:
    """For a person: "8 s", "12 min", "3.5 h", "12 days"."""
    for limit, unit, name in ((100, 1, "s"), (100 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} days"
