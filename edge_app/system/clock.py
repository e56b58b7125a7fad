"""The device's clock. It may be wrong, so nothing is ordered by it."""

import functools
import time
import uuid
from pathlib import Path

NOT_BEFORE_S = 1_767_225_600  # 2026-01-01: this limiar is newer, so an earlier time is wrong
_NS_LIMIT = (1 << 63) - 1  # the most that a message between processes can hold: the years 1677 to 2262


def take_any_year() -> None:
    """Replaces time.time if it raises OverflowError, as it does outside 1677 to 2262: even `import logging` calls it."""
    try:
        time.time()
    except OverflowError:
        time.time = lambda: time.clock_gettime(time.CLOCK_REALTIME)


def utc_now() -> str:
    """Now as ISO 8601 in UTC, to the millisecond."""
    return iso(_now_ms() * 1_000_000)


def now_ns() -> int:
    """Now as nanoseconds since 1970, limited to 64 bits if the clock is wrong by centuries."""
    return max(-_NS_LIMIT, min(_now_ms() * 1_000_000, _NS_LIMIT))


def _now_ms() -> int:
    """Now as milliseconds since 1970; unlike time.time_ns, it works in any year."""
    return int(time.clock_gettime(time.CLOCK_REALTIME) * 1000)


def iso(nanoseconds: int) -> str:
    """Nanoseconds since 1970, UTC -> ISO 8601, to the millisecond."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{_iso_second(seconds)}.{rest // 1_000_000:03d}Z"


@functools.lru_cache(maxsize=8)  # thousands of answers are given in the same second
def _iso_second(seconds: int) -> str:
    """Without its Z."""
    year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"


@functools.cache
def boot_id() -> str:
    """Linux's id of this boot: with it, sequence numbers give the order of frames even if the clock jumps."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # no /proc: this start counts as a boot
        return str(uuid.uuid4())
