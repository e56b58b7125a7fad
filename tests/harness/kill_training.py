#!/usr/bin/env python3
"""Kills `limiar train` with SIGKILL again and again, resumes it with --resume, and compares the results.

    tests/harness/kill_training.py [DATA] [--kills 100] [--seed N] [--control]

DATA: a folder of images; without it, 160 phantoms are drawn. Kills come at any time: before the first epoch, between two file
operations, while a checkpoint is written, while the RUN gets its files and its name. Each run is killed up to three times, then
finishes, and its model.keras, predictions.csv, splits.csv and history.csv must equal those of a run that was never killed, byte
by byte. The control does not seed dropout again in each epoch: its runs must differ, or this test could not fail.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import random
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from killing import Series, Starter, run_with_kills

KILLS_A_RUN = 3
QUICK = ["--quick", "--set", "epochs=3", "--set", "batch=32", "--set", "warmup=0"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--control", action="store_true")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    rng, series = random.Random(asked.seed), Series()
    with tempfile.TemporaryDirectory() as made, Starter(asked.control) as starter:
        folder = Path(made)
        data = asked.data or folder / "images"
        if asked.data is None:
            subprocess.run(
                [sys.executable, "-P", "-m", "limiar", "phantoms", data, "--count", "160", "--seed", "3"], check=True
            )
        arguments = [str(data), *QUICK]
        whole = starter.start(arguments, folder / "unkilled")
        print(f"a run without kills: {whole.seconds:.1f} s, {whole.operations} file operations", flush=True)
        while series.kills < asked.kills:
            kills = min(KILLS_A_RUN, asked.kills - series.kills)
            run_with_kills(starter, arguments, folder / "unkilled", whole, folder / f"run-{series.runs}", kills, rng, series)
            print("  ".join(f"{name} {value}" for name, value in asdict(series).items()), flush=True)
    return int((series.different > 0) is not asked.control)


if __name__ == "__main__":
    sys.exit(main())
