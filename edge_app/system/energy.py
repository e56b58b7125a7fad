"""The energy of one inference, where the board has a meter.

A meter counts everything that it feeds, so it is read while nothing is done, too, and that power is subtracted.
"""

import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from limiar.edge_app.system import sysfs
from limiar.edge_app.system.firmware import Ask, find_vcgencmd

_INA = {"ina219", "ina220", "ina226", "ina230", "ina231", "ina260", "ina3221"}  # hwmon's names of Texas Instruments' meters
_EVERY_S = 0.25  # reading it starts a program on a Pi, which costs as much while idle as while busy
_RAIL = re.compile(r"^\s*(\w+)_([AV]) (?:current|volt)\(\d+\)=(\d{1,4}\.\d{1,9})[AV]$", re.MULTILINE)


class Meter(Protocol):
    """Something that knows how much energy was used."""

    name: str  # what it is, and what it covers

    def joules(self) -> float | None:
        """Since it was found. To be called several times a second. None: it no longer answers."""


class Used(Struct, frozen=True):
    """Energy over some time."""

    joules: float
    seconds: float


class Energy(Struct, frozen=True, kw_only=True):
    """The energy of one inference, without what the board uses anyway."""

    meter: str
    idle_w: float
    busy_w: float
    per_inference_mj: float
    low_mj: float | None  # with the highest idle power that was met; None: it was met once
    high_mj: float | None  # and the lowest
    calls: int
    seconds: float  # of inference


def find_meter(root: Path | str = "/", vcgencmd: Ask | None = None, now_s: Callable[[], float] = time.monotonic) -> Meter | str:
    """The best meter here: one for the whole board before one for the processor; a text says why there is none."""
    root = Path(root)
    if chip := _find_ina(root):
        return _Power(*chip, now_s)
    ask = vcgencmd or find_vcgencmd()
    if ask and _pmic_w(ask) is not None:
        return _Power("Raspberry Pi 5 PMIC, the board without USB", partial(_pmic_w, ask), now_s)
    zones = [
        zone
        for zone in sysfs.matching(root / "sys/class/powercap", "intel-rapl:*")
        if re.fullmatch(r"package-\d+", sysfs.text(zone / "name", 64) or "")
    ]
    if not zones:
        return "this board has no meter that limiar knows"
    if any(sysfs.number(zone / "energy_uj") is None for zone in zones):
        cure = "run it as root, or `sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj`"
        return f"RAPL is there, but this user may not read it: {cure}"
    return _Rapl(zones)


class Gauge:
    """The energy used since this was made.

    gauge = Gauge(meter)
    while child.is_alive():
        gauge.poll()
    gauge.used()
    """

    def __init__(self, meter: Meter, now_s: Callable[[], float] = time.monotonic) -> None:
        self._meter, self._now_s = meter, now_s
        self._began_j = meter.joules()
        self._began_s = now_s()
        self._due_s = self._began_s + _EVERY_S

    def poll(self) -> None:
        """Reads the meter if it is time; to be called several times a second."""
        if self._now_s() >= self._due_s:
            self._meter.joules()
            self._due_s = self._now_s() + _EVERY_S

    def used(self) -> Used | None:
        """None: the meter no longer answers."""
        now_j = self._meter.joules()
        seconds = self._now_s() - self._began_s
        return None if now_j is None or self._began_j is None else Used(now_j - self._began_j, seconds)


def energy_of(meter: str, idle: Sequence[Used], busy: Used, calls: int) -> Energy:
    """(busy joules - idle power x busy seconds) / calls. idle: at least one, best before and after."""
    idle_w = sum(one.joules for one in idle) / sum(one.seconds for one in idle)
    powers = [one.joules / one.seconds for one in idle]

    def each_mj(at_rest_w: float) -> float:
        return round((busy.joules - at_rest_w * busy.seconds) / calls * 1000, 6)

    return Energy(
        meter=meter,
        idle_w=round(idle_w, 4),
        busy_w=round(busy.joules / busy.seconds, 4),
        per_inference_mj=each_mj(idle_w),
        low_mj=each_mj(max(powers)) if len(powers) > 1 else None,
        high_mj=each_mj(min(powers)) if len(powers) > 1 else None,
        calls=calls,
        seconds=round(busy.seconds, 3),
    )


class _Rapl:
    """Counters of energy, https://docs.kernel.org/power/powercap/powercap.html. They start again at `max_energy_range_uj`."""

    name = "RAPL, the processor alone"

    def __init__(self, zones: Sequence[Path]) -> None:
        self._zones = {zone: (sysfs.number(zone / "energy_uj") or 0, _range(zone)) for zone in zones}
        self._total_uj = 0

    def joules(self) -> float | None:
        for zone, (before, span) in self._zones.items():
            now = sysfs.number(zone / "energy_uj")
            if now is None:
                return None
            self._total_uj += (now - before) % span if span else max(now - before, 0)
            self._zones[zone] = now, span
        return self._total_uj / 1e6


def _range(zone: Path) -> int:
    return max(sysfs.number(zone / "max_energy_range_uj") or 0, 0)


class _Power:
    """A meter of power: energy is the sum of trapezoids between two readings."""

    def __init__(self, name: str, read_w: Callable[[], float | None], now_s: Callable[[], float]) -> None:
        self.name = name
        self._read_w, self._now_s = read_w, now_s
        self._total_j, self._before = 0.0, (now_s(), read_w())

    def joules(self) -> float | None:
        power_w, at_s = self._read_w(), self._now_s()
        before_s, before_w = self._before
        if power_w is None or before_w is None:
            return None
        self._total_j += (before_w + power_w) / 2 * (at_s - before_s)
        self._before = at_s, power_w
        return self._total_j


def _find_ina(root: Path) -> tuple[str, Callable[[], float | None]] | None:
    """A chip in the supply line, and how to read its watts."""
    for folder in sysfs.matching(root / "sys/class/hwmon", "hwmon*"):
        chip = sysfs.text(folder / "name", 64) or ""
        if chip in _INA and _ina_w(folder) is not None:
            line = re.fullmatch(r"[\w+.-]{1,16}", sysfs.text(folder / "in1_label", 64) or "", re.ASCII)
            return f"{chip.upper()}{f' {line[0]}' if line else ''}, what its line feeds", partial(_ina_w, folder)
    return None


def _ina_w(folder: Path) -> float | None:
    """Of the first channel: Jetson's INA3221 has the whole board there, and parts of it in the others."""
    microwatts = sysfs.number(folder / "power1_input")
    if microwatts is not None:
        return microwatts / 1e6
    millivolts, milliamperes = (sysfs.number(folder / name) for name in ("in1_input", "curr1_input"))
    return None if millivolts is None or milliamperes is None else millivolts * milliamperes / 1e6


def _pmic_w(ask: Ask) -> float | None:
    """The sum of all rails that have a current and a voltage; the 5 V input has no current, so USB is not in it."""
    rails: dict[str, dict[str, float]] = {}
    for rail, unit, value in _RAIL.findall(ask("pmic_read_adc") or ""):
        rails.setdefault(rail, {})[unit] = float(value)
    found = [rail["A"] * rail["V"] for rail in rails.values() if len(rail) == 2]
    return sum(found) if found else None
