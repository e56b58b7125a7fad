"""Boards made of files: /proc and /sys of a Raspberry Pi, and its command `vcgencmd`."""

import os
from collections.abc import Mapping
from pathlib import Path

CPUS = sorted(os.sched_getaffinity(0))  # of the tests: a Board looks at these alone
STAT = "cpu  {user} 0 0 {idle} 0 0 0 {steal} 0 0\ncpu0 1 2 3\n"


def write_board(root: Path, **changes: str) -> None:
    """A cool Raspberry Pi 4 with one clock for all cores. changes: file, as in `FILES` -> its text."""
    for name, text in {**_TEXTS, **changes}.items():
        write(root / FILES[name], text)
    clock = root / "sys/devices/system/cpu/cpufreq/policy0"
    for cpu in CPUS:
        link = root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(clock)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_vcgencmd(folder: Path, answers: Mapping[str, str]) -> Path:
    """A program that answers like a Pi's, and otherwise fails as that does; to be put into PATH."""
    cases = "".join(f"{what}) cat <<'.'\n{answer}\n.\n;;\n" for what, answer in answers.items())
    path = folder / "vcgencmd"
    write(path, f'#!/bin/sh\ncase "$1" in\n{cases}*) echo error=1; exit 1;;\nesac\n')
    path.chmod(0o755)
    return path


_CLOCK = "sys/devices/system/cpu/cpufreq/policy0"
FILES = {
    "governor": f"{_CLOCK}/scaling_governor",
    "clock_khz": f"{_CLOCK}/scaling_cur_freq",
    "limit_khz": f"{_CLOCK}/scaling_max_freq",
    "rated_khz": f"{_CLOCK}/cpuinfo_max_freq",
    "gpu": "sys/class/thermal/thermal_zone0/type",
    "gpu_mc": "sys/class/thermal/thermal_zone0/temp",
    "cpu": "sys/class/thermal/thermal_zone1/type",
    "cpu_mc": "sys/class/thermal/thermal_zone1/temp",
    "flags": "sys/devices/platform/soc/soc:firmware/get_throttled",
    "supply": "sys/class/hwmon/hwmon1/name",
    "alarm": "sys/class/hwmon/hwmon1/in0_lcrit_alarm",
    "stat": "proc/stat",
    "pressure": "proc/pressure/cpu",
    "cgroup": "proc/self/cgroup",
    "cpu_stat": "sys/fs/cgroup/bench/cpu.stat",
    "throttles": f"sys/devices/system/cpu/cpu{CPUS[0]}/thermal_throttle/core_throttle_count",
    "packages": f"sys/devices/system/cpu/cpu{CPUS[0]}/thermal_throttle/package_throttle_count",
}
_TEXTS = {
    "governor": "performance\n",
    "clock_khz": "1800000\n",
    "limit_khz": "1800000\n",
    "rated_khz": "1800000\n",
    "gpu": "gpu-thermal\n",
    "gpu_mc": "71000\n",
    "cpu": "cpu-thermal\n",
    "cpu_mc": "48312\n",
    "flags": "0\n",
    "supply": "rpi_volt\n",
    "alarm": "0\n",
    "stat": STAT.format(user=0, idle=0, steal=0),
}
