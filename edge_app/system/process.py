"""The state of other processes, and the time that they have computed."""

import time

_CPU_CLOCK = 2  # CPUCLOCK_SCHED, in the lowest bits: linux/posix-timers.h; glibc's clock_getcpuclockid(3) makes the same number


def cpu_s(pid: int | None) -> float:
    """Seconds that a process has computed so far; 0 if it has ended."""
    if pid is None:
        return 0.0
    try:
        return time.clock_gettime(~pid << 3 | _CPU_CLOCK)
    except OSError:
        return 0.0


def gets_no_time(pid: int, before_s: float, limit_s: float) -> bool:
    """Whether a process is late because others have the processor, or because its memory is swapped out.

    before_s: `cpu_s` when it began. limit_s: seconds of computing that it may take.
    """
    return cpu_s(pid) - before_s < limit_s and state(pid) in ("R", "D")


def state(pid: int | None) -> str:
    """A process's state, proc(5): R runs or waits for a processor, D waits for a disk; empty if unknown."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
