"""Poison images: files that are whole, and crash, exhaust or hang the worker that decodes them.

A real one would need a decoder with a known fault; here the worker's decoder is wrapped, in a process that a test starts.
"""

from collections import Counter
from pathlib import Path

KINDS = ("crash", "memory", "hang")  # and "all", which kills the service itself

# Run before a command. It must fork its workers: so OPENBLAS_NUM_THREADS is 1, as tests/edge_app/conftest.py sets it.
_SCRIPT = """
import limiar.edge_app.scan.pool, limiar.edge_app.scan.worker
limiar.edge_app.scan.pool._IMAGE_S = {image_s}
decode = limiar.edge_app.scan.worker.decode
def poisoned(content, name, *more, **named):
    import os, resource, signal, time
    base = os.path.basename(name)
    kind = base.split("-")[1] if base.startswith("poison-") else None
    if kind:
        with open({marks!r}, "ab") as marks:
            marks.write(os.fsencode(base) + b"\\n")
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "all":  # as a system does that has no memory left for the service
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(3600)
    if kind == "memory":
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), used + (64 << 20)))
        held = []
        while True:
            held.append(bytearray(16 << 20))
    if kind == "hang":
        time.sleep(3600)
    return decode(content, name, *more, **named)
limiar.edge_app.scan.worker.decode = poisoned
"""


def poisoned(marks: Path, image_s: float = 1.0) -> str:
    """A script for a process whose workers cannot stand poison; each try is noted in `marks`. image_s: instead of 5 s."""
    return _SCRIPT.format(marks=str(marks), image_s=image_s)


def poison_name(number: int) -> str:
    """The name of a poison image: all kinds in turn, in the middle of other names."""
    return f"poison-{KINDS[number % len(KINDS)]}-{number:03}.png"


def tries(marks: Path) -> Counter[str]:
    """How often each was tried, by name."""
    return Counter(marks.read_text().splitlines()) if marks.exists() else Counter()
