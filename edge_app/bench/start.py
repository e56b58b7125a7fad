"""One start in a fresh process, from nothing to the first answer; `limiar bench` runs it for each variant.

    python -m limiar.edge_app.bench.start BUNDLE SHA256 FILE RUNTIME THREADS STARTED_NS < IMAGE

SHA256 is of the manifest that the caller opened, and whose signature it checked if keys were given: if another bundle is there
now, it is not run. STARTED_NS is the caller's monotonic clock when it started this process. stdout is a Start as JSON.
"""

import re
import resource
import sys
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.image.read import decode
from limiar.edge_app.inference.classifier import Classifier
from limiar.edge_app.inference.model_check import check_model
from limiar.edge_app.runtimes import open_runtime


class Start(Struct, frozen=True):
    """The time and memory that one start took."""

    version: str  # of the runtime
    load_ms: float  # importing the runtime and loading the model
    ready_ms: float  # process start -> model loaded; includes Python's start, all imports and the check of the bundle
    answered_ms: float  # process start -> first answer
    peak_mb: float  # memory, MiB
    first_ms: float = 0.0  # the first inference, which sets up what later ones use
    idle_mb: float = 0.0  # memory after the first answer, MiB


def main(bundle: str, sha256: str, file: str, runtime: str, threads: str, started_ns: str) -> None:
    opened = open_bundle(bundle)
    if opened.sha256 != sha256:
        sys.exit("another bundle is there now")
    model, data = opened.model(file)
    loading_ns = time.monotonic_ns()
    loaded = open_runtime(runtime, data, int(threads))
    ready_ns = time.monotonic_ns()
    check_model(loaded, len(opened.manifest.labels), opened.manifest.input)
    invoked_ns = time.monotonic_ns()
    Classifier(loaded, opened.manifest.labels, opened.manifest.input, model.decision).answer(decode(sys.stdin.buffer.read()))
    answered_ns = time.monotonic_ns()
    begun_ns = int(started_ns)
    idle_mb = memory_mb("VmRSS")  # before the peak, which it cannot exceed
    start = Start(
        version=loaded.version,
        load_ms=(ready_ns - loading_ns) / 1e6,
        ready_ms=(ready_ns - begun_ns) / 1e6,
        answered_ms=(answered_ns - begun_ns) / 1e6,
        peak_mb=memory_mb("VmHWM"),
        first_ms=(invoked_ns - ready_ns) / 1e6,
        idle_mb=idle_mb,
    )
    sys.stdout.buffer.write(msgspec.json.encode(start))


def memory_mb(line: str) -> float:
    """This process's VmHWM, the peak, or VmRSS, now; MiB.

    Not from getrusage: its ru_maxrss starts at what the parent had when it forked (getrusage(2), kernel/fork.c).
    """
    try:
        found = re.search(rf"{line}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    except OSError:  # no /proc; this figure is rather too high than too low
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert found, "every process has these lines"
    return int(found[1]) / 1024


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except LimiarError as error:
        sys.exit(str(error))
