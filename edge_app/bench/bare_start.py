"""One start of a model file without a bundle in a fresh process, from nothing to the end of its first inference.

    python -m limiar.edge_app.bench.bare_start MODEL SHA256 FILE RUNTIME THREADS STARTED_NS

SHA256 is of the file that the caller read; FILE is its name. STARTED_NS is the caller's monotonic clock when it started this
process. stdout is a Start as JSON.
"""

import sys
import time

import msgspec

from limiar.edge_app.bench.bare import open_bare, same_model
from limiar.edge_app.bench.start import Start, memory_mb
from limiar.edge_app.errors import LimiarError


def main(path: str, sha256: str, _file: str, runtime: str, threads: str, started_ns: str) -> None:
    format, data = same_model(path, sha256)
    loading_ns = time.monotonic_ns()
    bare = open_bare(format, data, runtime, int(threads))
    answered_ns, begun_ns = time.monotonic_ns(), int(started_ns)
    idle_mb = memory_mb("VmRSS")  # before the peak, which it cannot exceed
    start = Start(
        version=bare.version,
        load_ms=(bare.loaded_ns - loading_ns) / 1e6,
        ready_ms=(bare.loaded_ns - begun_ns) / 1e6,
        answered_ms=(answered_ns - begun_ns) / 1e6,
        peak_mb=memory_mb("VmHWM"),
        first_ms=bare.first_ns / 1e6,
        idle_mb=idle_mb,
    )
    sys.stdout.buffer.write(msgspec.json.encode(start))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except LimiarError as error:
        sys.exit(str(error))
