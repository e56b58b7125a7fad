"""The device's clock, which may be wrong: order never follows from it."""

import time


def utc_now() -> str:
    """Now as ISO 8601 in UTC, to the millisecond."""
    return iso(time.time_ns())


def iso(nanoseconds: int) -> str:
    """Nanoseconds since 1970, UTC -> ISO 8601, to the millisecond."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1_000_000:03d}Z"
