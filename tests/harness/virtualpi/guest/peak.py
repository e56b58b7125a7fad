"""Runs a command and prints the peak memory of its processes, in MB, as the last line. For the guest; needs only Python."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return []
    return [pid, *(further for child in children for further in descendants(int(child)))]


def pss_kb(pid: int) -> int:
    """A process's memory, with its share of shared pages."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def main(command: list[str]) -> int:
    together_kb = 0
    child = subprocess.Popen(command)
    while child.poll() is None:
        together_kb = max(together_kb, sum(map(pss_kb, descendants(child.pid))))
        time.sleep(0.1)
    # VmHWM of the largest process that has ended: no peak is missed between two samples.
    largest_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"largest_mb": largest_kb / 1024, "together_mb": together_kb / 1024}))
    return child.returncode


sys.exit(main(sys.argv[1:]))
