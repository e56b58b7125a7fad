#!/usr/bin/env python3
"""Runs tests while calls by which processes and threads meet are now and then late: what depends on their order shows itself.

    tests/harness/late_calls.py [--one-in N] [--ms M] [PYTEST-ARGUMENT...]
    tests/harness/late_calls.py --one-in 18 -n 4 --dist loadfile tests/fleet tests/page

One in N calls (40) of bind, listen, rename, flock, fork and their like begins or returns up to M milliseconds (60) late, in
pytest and in whatever it starts: tests/harness/late_calls.c. Needs a C compiler. Exit status: pytest's. A test that fails here
for its slowness alone, as one that traces system calls or has a camera's pace, is no finding.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one-in", type=int, default=40)
    parser.add_argument("--ms", type=int, default=60)
    options, words = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "late_calls.so"
        subprocess.run(["cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
        late = {"LD_PRELOAD": str(library), "LATE_ONE_IN": str(options.one_in), "LATE_MS": str(options.ms)}
        return subprocess.call(
            [sys.executable, "-P", "-m", "pytest", *words], env={**os.environ, **late}, cwd=SOURCE.parents[2]
        )


if __name__ == "__main__":
    sys.exit(main())
