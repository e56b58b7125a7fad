#!/usr/bin/env python3
"""What someone with 300 photographs sees: check, train, convert and scan, all with their defaults.

    studies/first_project.py OUT [--count 300]

Draws photographs of three classes (studies/photographs.py), and 30 more that training does not see, into the new folder OUT.
Shows what each command prints, and how long it takes. Exit status 1 if a command fails, or the bundle does not tell the classes
apart.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from limiar.edge_app.bundle.open import open_bundle
from photographs import CLASSES, write_photographs

UNSEEN = 30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=300)
    asked = parser.parse_args()
    out: Path = asked.out
    write_photographs(out / "photos", asked.count, seed=1)
    write_photographs(out / "unseen", UNSEEN, seed=2)
    started = time.monotonic()
    limiar("check", out / "photos")
    limiar("train", out / "photos", "--out", out / "run")
    limiar("convert", out / "run", "--out", out / "bundle")
    limiar("scan", out / "bundle", out / "unseen", "--db", out / "results.db", "--jsonl", out / "answers.jsonl")
    taken_s = time.monotonic() - started
    answers = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    right = sum(answer["label"] == Path(answer["path"]).parent.name for answer in answers)
    manifest = open_bundle(out / "bundle").manifest
    print(f"files of the bundle: {', '.join(manifest.models)}; its default: {manifest.default_file}")
    print(f"{right} of {len(answers)} unseen photographs have the right label; all four commands: {taken_s:.0f} s")
    if len(answers) != UNSEEN or right < UNSEEN / len(CLASSES) * 2:
        sys.exit("the bundle does not tell the classes apart")
    return 0


def limiar(*words: str | Path) -> None:
    """Runs a command, whose output is shown; ends the script if it fails."""
    print(f"== limiar {' '.join(map(str, words))}", flush=True)
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-P", "-c", "from limiar.edge_app.cli import main; main()", *words])
    if done.returncode:
        sys.exit(f"limiar {words[0]} ended with status {done.returncode}")
    print(f"limiar {words[0]}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
