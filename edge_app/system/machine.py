"""What this machine is, and its condition, from /proc and /sys."""

import os
import platform
import re
import sys
from pathlib import Path

from msgspec import Struct

from limiar.edge_app.system.board import Board

# Vector units that quantized kernels use, in the kernel's words: https://docs.kernel.org/arch/arm64/elf_hwcaps.html and x86's
# cpufeatures.h.
_FEATURES = {
    *("neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
    *("ssse3", "sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "amx_int8"),
}
_ARM_PARTS = {  # "CPU part" in /proc/cpuinfo on arm64, which shows a model name only to 32-bit programs, and only "ARMv8"
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
}


class Machine(Struct, frozen=True):
    """Properties that do not change while the machine runs."""

    architecture: str  # as platform.machine(): "x86_64", "aarch64"
    bits: int  # of this Python
    cpu: str
    cores: int  # those that this process may use
    features: tuple[str, ...]  # vector units that quantized kernels use
    board: str | None  # "Raspberry Pi 4 Model B Rev 1.4"
    memory_mb: int
    system: str  # "Debian GNU/Linux 12 (bookworm)"
    kernel: str
    python: str


class Condition(Struct, frozen=True):
    """Conditions outside limiar that change latency. None: this machine does not say."""

    load_1min: float  # processes that ran or waited, on average
    governor: str | None  # of the clock of the first CPU that this process may use
    clock_mhz: float | None  # of the same CPU
    temperature_c: float | None  # of the processor
    throttled: str | None  # a Raspberry Pi's flags; "0x0": not since boot


def machine() -> Machine:
    """Describes this machine."""
    info = _read("/proc/cpuinfo") or ""
    memory_kb = re.search(r"MemTotal:\s+(\d+)", _read("/proc/meminfo") or "")
    return Machine(
        architecture=platform.machine(),
        bits=64 if sys.maxsize > 2**32 else 32,
        cpu=cpu_model(info),
        cores=len(os.sched_getaffinity(0)),
        features=cpu_features(info),
        board=(_read("/proc/device-tree/model") or "").strip("\0\n ") or None,
        memory_mb=int(memory_kb[1]) // 1024 if memory_kb else 0,
        system=_system(),
        kernel=platform.release(),
        python=platform.python_version(),
    )


def condition() -> Condition:
    """The current condition."""
    board = Board()
    now, clock = board.sample(), board.first_clock()
    return Condition(
        load_1min=round(os.getloadavg()[0], 2),
        governor=clock.governor,
        clock_mhz=clock.mhz,
        temperature_c=now.temperature_c,
        throttled=None if now.throttled is None else hex(now.throttled),
    )


_CGROUPS = "/sys/fs/cgroup"


def available_mb() -> int:
    """MiB of memory that a new job may take: what the kernel says is available, or a container's limit if that is less."""
    kb = re.search(r"MemAvailable:\s+(\d+)", _read("/proc/meminfo") or "")
    found = [int(kb[1]) >> 10 if kb else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20]
    own = Path(f"{_CGROUPS}/{(_read('/proc/self/cgroup') or '').rpartition('0::/')[2]}")
    limits = [_read(f"{group}/memory.max") for group in (own, *own.parents) if group.is_relative_to(_CGROUPS)]
    limits.append(_read(f"{_CGROUPS}/memory/memory.limit_in_bytes"))  # cgroup 1
    return min(found + [int(limit) >> 20 for limit in limits if limit and limit.isdigit()])


def cpu_model(info: str) -> str:
    """The text of /proc/cpuinfo -> "Intel(R) Xeon(R) …" or "Cortex-A72"."""
    if parts := sorted(set(re.findall(r"^CPU part\s*:\s*(\w+)$", info, re.MULTILINE))):
        return ", ".join(_ARM_PARTS.get(part, f"ARM part {part}") for part in parts)
    name = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return name[1].strip() if name else "unknown"


def cpu_features(info: str) -> tuple[str, ...]:
    """The text of /proc/cpuinfo -> vector units that quantized kernels use, in alphabetical order."""
    lines = re.findall(r"^(?:flags|Features)\s*:\s*(.+)$", info, re.MULTILINE)
    return tuple(sorted(_FEATURES.intersection(*(line.split() for line in lines)))) if lines else ()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
