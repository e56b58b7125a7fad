"""Tells systemd how a service of Type=notify is: sd_notify(3), a datagram to the socket that NOTIFY_SOCKET names.

Where there is no such socket, nothing is said. `watchdog` says that there is progress, at most as often as systemd asks for.
"""

import contextlib
import os
import socket
import time

_said_s = float("-inf")  # when the watchdog was fed last


def ready(status: str) -> None:
    """The service works. status: one line, for `systemctl status`."""
    _say(f"READY=1\nSTATUS={' '.join(status.split())}")


def reloading() -> None:
    """The service reads its configuration again; `ready` follows."""
    _say(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def stopping() -> None:
    """The service ends in order."""
    _say("STOPPING=1")


def watchdog() -> None:
    """There is progress. May be called often."""
    global _said_s
    every_s = _watchdog_s()
    if every_s and time.monotonic() - _said_s >= every_s / 4:
        _said_s = time.monotonic()
        _say("WATCHDOG=1")


def _watchdog_s() -> float:
    """How long systemd waits for `watchdog`; 0 if it does not. It is meant for one process: WATCHDOG_PID."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        return 0.0


def _say(what: str) -> None:
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")):
        return
    address = "\0" + where[1:] if where.startswith("@") else where
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        sender.sendto(what.encode(), address)
