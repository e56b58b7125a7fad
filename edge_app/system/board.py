"""What else the board did while something was measured: its clock, its heat, its power supply, and other programs.

Read from /proc, /sys and a Raspberry Pi's firmware. Measured on a server with 2 cores: a sample takes 0.1 ms, and 2 ms where
it starts a `vcgencmd` (every 5 s). Not measured on a Pi.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from limiar.edge_app.system import sysfs
from limiar.edge_app.system.firmware import Ask, find_vcgencmd

_CLOCKS = 16  # clock domains that are read: a Pi has one, a phone's processor three, a server one for each core
_PROCESSES = 256  # of this process's children and theirs
_FIRMWARE_EVERY_S = 5.0  # the flags keep what happened in between
# Types of thermal zones that are a processor's: cpu-thermal (Raspberry Pi), soc_thermal, x86_pkg_temp, CPU-therm (Jetson),
# bigcore0-thermal (Rockchip). hwmon has those that have no zone, such as k10temp (AMD).
_ZONE = re.compile(r"cpu|soc|core|pkg", re.IGNORECASE)
_POSSIBLE_MC = range(-60_000, 200_000)  # a sensor that is switched off says -274 degrees, or 65,535
_SENSORS = {"k10temp", "zenpower", "coretemp", "cpu_thermal"}


class BoardSample(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One look at the board. None: this machine does not say. The CPUs are those that this process may use.

    own, others and stolen are shares, 0..1, of the time of all cores since the sample before.
    """

    at_s: float  # since the Board was made, monotonic
    governors: tuple[str, ...] = ()  # of the CPUs' clocks, each once, in alphabetical order
    clock_low_mhz: float | None = None  # of the slowest of the CPUs
    clock_high_mhz: float | None = None
    limit_mhz: float | None = None  # the most that the kernel allows now, on average over clocks: it drops with heat
    rated_mhz: float | None = None  # the most that the processor can do, likewise
    temperature_c: float | None = None  # of the hottest sensor of the processor
    throttled: int | None = None  # a Raspberry Pi's flags: see verdict.throttle_flags
    under_voltage: bool | None = None  # a Raspberry Pi's sensor: within the last 2 s
    throttles: int | None = None  # how often an x86 processor has throttled itself since boot
    withheld_s: float | None = None  # how long a container's limit has kept its processes waiting, in all
    own: float | None = None  # this process, its children and theirs
    others: float | None = None  # all other processes, and the kernel
    stolen: float | None = None  # a virtual machine's host, for others, while a core here had work
    pressure: float | None = None  # percent of the last 10 s in which some process waited for a core


class Clock(NamedTuple):
    """A clock of the processor; None: it does not say."""

    governor: str | None
    mhz: float | None
    limit_mhz: float | None
    rated_mhz: float | None


class _Time(NamedTuple):
    """Seconds of all cores since boot."""

    total_s: float
    busy_s: float  # here: without what was stolen
    stolen_s: float
    own_s: float


class Board:
    """Reads the board again and again.

    board = Board()
    board.sample().temperature_c
    """

    def __init__(
        self,
        root: Path | str = "/",
        vcgencmd: Ask | None = None,
        now_s: Callable[[], float] = time.monotonic,
        own_s: Callable[[], float] | None = None,
    ) -> None:
        """root: where `proc` and `sys` are. vcgencmd: by default the one in PATH. own_s: seconds that this process computed."""
        self._root = Path(root)
        self._cpus = self._root / "sys/devices/system/cpu"
        self._vcgencmd = vcgencmd or find_vcgencmd()
        self._now_s = now_s
        self._own_s = own_s or _own_s
        self._began_s = now_s()
        self._asked_s = -_FIRMWARE_EVERY_S
        self._flags: int | None = None
        self._used = sorted(os.sched_getaffinity(0))
        self._clocks = self._find_clocks()
        self._sensors = list(self._find_sensors())
        self._supply = next((folder for folder, name in self._hwmon() if name == "rpi_volt"), None)
        self._group = self._find_group()
        self._before = self._time()

    def sample(self, last: bool = False) -> BoardSample:
        """The board now. last: asks the firmware even if it was asked a moment ago. Raises nothing."""
        at_s = self._now_s() - self._began_s
        clocks = [self._clock(folder) for folder in self._clocks]
        mhz = [clock.mhz for clock in clocks if clock.mhz is not None]
        heat = [mc for sensor in self._sensors if (mc := sysfs.number(sensor)) is not None and mc in _POSSIBLE_MC]
        alarm = sysfs.number(self._supply / "in0_lcrit_alarm") if self._supply else None
        own, others, stolen = self._shares()
        return BoardSample(
            at_s=round(at_s, 3),
            governors=tuple(sorted({clock.governor for clock in clocks if clock.governor})),
            clock_low_mhz=min(mhz, default=None),
            clock_high_mhz=max(mhz, default=None),
            limit_mhz=_mean(clock.limit_mhz for clock in clocks),
            rated_mhz=_mean(clock.rated_mhz for clock in clocks),
            temperature_c=max(heat) / 1000 if heat else None,
            throttled=self._throttled(at_s, last),
            under_voltage=None if alarm is None else alarm != 0,
            throttles=self._throttles(),
            withheld_s=self._withheld_s(),
            own=own,
            others=others,
            stolen=stolen,
            pressure=_some(sysfs.text(self._root / "proc/pressure/cpu", 256)),
        )

    def first_clock(self) -> Clock:
        """The clock of the first CPU that this process may use."""
        return next((self._clock(folder) for folder in self._clocks), Clock(None, None, None, None))

    def _clock(self, folder: Path) -> Clock:
        """https://docs.kernel.org/admin-guide/pm/cpufreq.html, policy interface in sysfs; it has kHz."""
        khz = (sysfs.number(folder / name) for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq"))
        mhz, limit_mhz, rated_mhz = (None if figure is None else figure / 1000 for figure in khz)
        governor = re.fullmatch("[a-z][a-z_]{1,15}", sysfs.text(folder / "scaling_governor", 64) or "")
        return Clock(governor and governor[0], mhz, limit_mhz, rated_mhz)

    def _find_clocks(self) -> list[Path]:
        """The CPUs' clocks, each once: those of one cluster share theirs."""
        folders = (Path(os.path.realpath(self._cpus / f"cpu{cpu}/cpufreq")) for cpu in self._used)
        return list(dict.fromkeys(folder for folder in folders if folder.is_dir()))[:_CLOCKS]

    def _find_sensors(self) -> Iterator[Path]:
        """The files with a processor's temperature; if none is named like one, the first zone's."""
        zones = sysfs.matching(self._root / "sys/class/thermal", "thermal_zone*")
        found = [zone / "temp" for zone in zones if _ZONE.search(sysfs.text(zone / "type", 64) or "")]
        found += [folder / "temp1_input" for folder, name in self._hwmon() if name in _SENSORS]
        yield from found or [zone / "temp" for zone in zones[:1]]

    def _hwmon(self) -> Iterator[tuple[Path, str]]:
        for folder in sysfs.matching(self._root / "sys/class/hwmon", "hwmon*"):
            yield folder, sysfs.text(folder / "name", 64) or ""

    def _throttled(self, at_s: float, ask: bool) -> int | None:
        """The flags. The kernel's file is hexadecimal without 0x (drivers/firmware/raspberrypi.c, in Raspberry Pi's tree)."""
        flags = sysfs.number(self._root / "sys/devices/platform/soc/soc:firmware/get_throttled", 16)
        if flags is not None or self._vcgencmd is None:
            return flags
        if ask or at_s - self._asked_s >= _FIRMWARE_EVERY_S:
            self._asked_s = at_s
            answer = re.fullmatch(r"throttled=(0x[0-9a-fA-F]{1,8})", self._vcgencmd("get_throttled") or "")
            self._flags = int(answer[1], 16) if answer else None
        return self._flags

    def _throttles(self) -> int | None:
        """Intel's counters, arch/x86/kernel/cpu/mce/therm_throt.c; the package's is the same for all its cores."""
        folders = [self._cpus / f"cpu{cpu}/thermal_throttle" for cpu in self._used[:_CLOCKS]]
        files = [folder / "core_throttle_count" for folder in folders] + [folders[0] / "package_throttle_count"]
        counts = [count for file in files if (count := sysfs.number(file)) is not None]
        return sum(counts) if counts else None

    def _find_group(self) -> Path | None:
        """The cgroup (version 2) that this process is in."""
        path = (sysfs.text(self._root / "proc/self/cgroup") or "").rpartition("0::/")[2]
        folder = self._root / "sys/fs/cgroup" / path
        return folder if (folder / "cpu.stat").is_file() else None

    def _withheld_s(self) -> float | None:
        stat = sysfs.text(self._group / "cpu.stat") if self._group else None
        found = re.search(r"^throttled_usec (\d{1,18})$", stat or "", re.MULTILINE)
        return int(found[1]) / 1e6 if found else None

    def _time(self) -> _Time | None:
        """proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal. A guest's time is in user's already."""
        line = (sysfs.text(self._root / "proc/stat", 512) or "").partition("\n")[0].split()
        ticks = [count for word in line[1:9] if (count := sysfs.whole(word)) is not None]
        if line[:1] != ["cpu"] or len(ticks) != 8:
            return None
        user, nice, system, idle, iowait, irq, softirq, steal = (count / _TICKS for count in ticks)
        busy_s = user + nice + system + irq + softirq
        return _Time(busy_s + idle + iowait + steal, busy_s, steal, self._own_s() + self._children_s())

    def _children_s(self) -> float:
        """What running children have computed, with theirs, and those that these have waited for."""
        found, waiting = 0.0, [self._root / "proc/self"]
        for _ in range(_PROCESSES):
            if not waiting:
                break
            process = waiting.pop()
            if process.name != "self":
                stat = (sysfs.text(process / "stat", 1024) or "").rpartition(")")[2].split()
                found += sum(sysfs.whole(ticks) or 0 for ticks in stat[11:15]) / _TICKS  # utime, stime, cutime, cstime
            for thread in sysfs.matching(process / "task", "[0-9]*"):
                pids = (sysfs.text(thread / "children") or "").split()
                waiting += [self._root / "proc" / pid for pid in pids if pid.isdecimal()]
        return found

    def _shares(self) -> tuple[float | None, float | None, float | None]:
        """Of this process and its children, of others, and stolen, since the last call."""
        before, now = self._before, self._time()
        self._before = now
        if before is None or now is None or now.total_s <= before.total_s:
            return None, None, None
        span_s = now.total_s - before.total_s
        busy, stolen, own = ((now[place] - before[place]) / span_s for place in (1, 2, 3))
        own = min(max(own, 0.0), 1.0)
        # The kernel counts its cores by ticks and a process to the nanosecond, so they differ by a little.
        return round(own, 4), round(max(busy - own, 0.0), 4), round(max(stolen, 0.0), 4)


_TICKS = os.sysconf("SC_CLK_TCK")  # per second


def _own_s() -> float:
    """What this process has computed, and the children that it has waited for. QEMU's /proc/self/stat says 0."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _mean(figures: Iterable[float | None]) -> float | None:
    """Of those that are known."""
    known = [figure for figure in figures if figure is not None]
    return round(sum(known) / len(known), 3) if known else None


def _some(pressure: str | None) -> float | None:
    """The first average of a file in /proc/pressure: https://docs.kernel.org/accounting/psi.html."""
    found = re.match(r"some avg10=(\d{1,3}\.\d\d)\b", pressure or "")
    return float(found[1]) if found else None
