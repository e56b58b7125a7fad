"""Whether the device's clock can be believed. Many boards have none: they start in 1970, or where they were switched off.

Nothing is ordered by this clock. It is shown beside answers, and things are deleted by age only while it is trusted.
"""

import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from limiar.edge_app.health.status import ClockStatus
from limiar.edge_app.system import sysfs
from limiar.edge_app.system.clock import NOT_BEFORE_S, iso
from limiar.edge_app.system.kernel_clock import kernel_synchronised_s

_LOOK_S = 10.0  # how often those that vouch for the clock are asked
_JUMP_S = 1.0  # less is not a jump: a hasty NTP client steps by less than its own error
_SLEW = 0.1  # of the time between two looks; chrony corrects by at most 1/12 of it
_REPORTS, _REPORT_S = 60, 60.0  # jumps that are reported one by one, and then one in so long: two programs may fight over it
_AGREE_S = 30.0  # between this clock and the board's battery-backed one, which has whole seconds and drifts


class Jump(Struct, frozen=True):
    """Someone, or something, set the clock."""

    seconds: float  # forwards, or backwards if negative
    before: str  # UTC, what it would have shown
    after: str  # UTC
    times: int = 1  # more: those that were not reported one by one


class ClockTrust:
    """Watches the clock.

    clock = ClockTrust()
    if jump := clock.turn():
        store.audit("clock-jump", {"seconds": f"{jump.seconds:.1f}"})
    """

    def __init__(
        self,
        real: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_REALTIME),
        steady: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        kernel_s: Callable[[], float | None] = kernel_synchronised_s,
        root: Path = Path("/"),
    ) -> None:
        """real, steady: the clock, and one that never jumps. root: where `sys` and `run` are."""
        self._real, self._steady, self._kernel_s = real, steady, kernel_s
        self._rtc = root / "sys/class/rtc/rtc0/since_epoch"
        self._timesync = root / "run/systemd/timesync/synchronized"
        self._jumps = 0
        self._last_jump_s: float | None = None
        self._stale: int | None = None  # what systemd-timesyncd's file was at the last jump, which it may not have noticed
        self._vouched = ""
        self._reports, self._unreported = float(_REPORTS), 0
        self._before = steady(), real()
        self._look()

    @property
    def trusted(self) -> bool:
        """Whether times are right, as far as this device can know."""
        return self._trusted

    def turn(self) -> Jump | None:
        """To be called often; says if the clock jumped since the last call, of very many jumps only some. Raises nothing."""
        (steady_before, real_before), (steady, real) = self._before, (self._steady(), self._real())
        self._before = steady, real
        went = steady - steady_before
        jumped = real - real_before - went
        self._reports = min(float(_REPORTS), self._reports + went / _REPORT_S)
        if abs(jumped) > max(_JUMP_S, _SLEW * went):
            self._jumps += 1
            self._last_jump_s = round(jumped, 3)
            self._stale, self._vouched = self._timesync_ns(), ""
            self._look()
            self._unreported += 1
            if self._reports < 1:
                return None
            times, self._unreported, self._reports = self._unreported, 0, self._reports - 1
            return Jump(self._last_jump_s, _utc(real_before + went), _utc(real), times)
        if steady - self._looked >= _LOOK_S:
            self._look()
        return None

    def status(self) -> ClockStatus:
        """For `limiar status`."""
        return ClockStatus(trusted=self._trusted, why=self._why, jumps=self._jumps, last_jump_s=self._last_jump_s)

    def _look(self) -> None:
        self._looked = self._steady()
        self._trusted, self._why = self._judged(self._real())

    def _judged(self, now_s: float) -> tuple[bool, str]:
        if now_s < NOT_BEFORE_S:
            return False, f"it shows {_utc(now_s)[:10]}, before this limiar was written"
        if vouched := self._voucher(now_s):
            self._vouched = vouched
        if self._vouched:  # also later: without a jump it stays right to minutes in a year
            return True, self._vouched
        if self._jumps:
            return False, f"it jumped by {self._last_jump_s:+.1f} s, and nothing has set it right since"
        return False, "no time server has set it, and no clock with a battery agrees with it"

    def _voucher(self, now_s: float) -> str:
        """Who says that it is right. Each vouches for the time that it shows: libfaketime shows this process another one."""
        try:
            kernel_s = self._kernel_s()
            if kernel_s is not None and abs(kernel_s - now_s) < _AGREE_S:
                return "NTP has set it, the kernel says"
        except PermissionError:
            if self._timesync_ns() not in (None, self._stale):
                return "systemd-timesyncd has set it"
        rtc_s = sysfs.number(self._rtc)
        return "it agrees with the board's own clock" if rtc_s is not None and abs(rtc_s - now_s) < _AGREE_S else ""

    def _timesync_ns(self) -> int | None:
        """When systemd-timesyncd last noted that it had set the clock; None: it has not since boot."""
        try:
            return self._timesync.stat().st_mtime_ns
        except OSError:
            return None


def _utc(seconds: float) -> str:
    try:
        return iso(int(seconds * 1000) * 1_000_000)
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f} s after 1970"
