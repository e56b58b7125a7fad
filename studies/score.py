#!/usr/bin/env python3
"""How good are the answers of `limiar scan` on a labelled folder? Prints the figures that README and the model card quote.

    studies/score.py BUNDLE DATA [--split test] [--file NAME] [--csv MANIFEST]

Runs the real `limiar scan` over DATA with a fresh database and compares its lines with the table (columns file, label, split;
by default DATA/manifest.csv). All images of the split count, including referred ones; a refused one counts as wrong.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from limiar.edge_app.bundle.open import open_bundle
from limiar.train.record.metrics import class_metrics, decision_metrics, ece_interval


class Line(msgspec.Struct, frozen=True):
    """The fields needed from a line of `limiar scan --jsonl`."""

    path: str
    decision: str
    probabilities: dict[str, float] = {}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("bundle", type=Path)
    options.add_argument("data", type=Path)
    options.add_argument("--split", default="test")
    options.add_argument("--file")
    options.add_argument("--csv", type=Path)
    asked = options.parse_args()
    manifest = open_bundle(asked.bundle).manifest
    name = asked.file or manifest.default_file
    lines = scan(asked.bundle, asked.data, name)
    with (asked.csv or asked.data / "manifest.csv").open(newline="", encoding="utf-8") as file:
        truth = {row["file"]: row["label"] for row in csv.DictReader(file) if row["split"] == asked.split}
    found = {Path(line.path).relative_to(asked.data).as_posix(): line for line in lines}
    absent = [path for path in truth if path not in found]
    if absent or not truth:
        raise SystemExit(
            f"{len(absent)} of {len(truth)} {asked.split} images of the table are not in DATA: give the table of DATA"
        )

    labels = [manifest.labels.index(label) for label in truth.values()]
    probabilities = [answered(found[path], label, manifest.labels) for path, label in truth.items()]
    metrics = class_metrics(labels, probabilities, manifest.labels, manifest.positive)
    metrics |= decision_metrics(list(truth.values()), [found[path].decision for path in truth])
    metrics["ece"] = ece_interval(labels, probabilities)
    refused = sum(line.decision == "refused" for line in lines)
    print(
        f"{manifest.name} {manifest.version}, {name}: {len(lines)} lines, {refused} refused; {asked.split}: {len(truth)} images"
    )
    for key, metric in metrics.items():
        print(f"  {key.replace('_', ' '):<18} {metric.value:.3f}   95 % interval {metric.low:.3f} to {metric.high:.3f}")
    return 0


def scan(bundle: Path, data: Path, name: str) -> list[Line]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "limiar", "scan", str(bundle), str(data), "--file", name, "--jsonl", "-"]
        done = subprocess.run([*command, "--db", f"{folder}/results.db"], stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 4):
        raise SystemExit(done.returncode)
    return [msgspec.json.decode(line, type=Line) for line in done.stdout.splitlines()]


def answered(line: Line, label: str, labels: tuple[str, ...]) -> list[float]:
    """The probabilities of a line, in the order of the labels; a refused image is wrong with certainty."""
    if line.probabilities:
        return [line.probabilities[name] for name in labels]
    wrong = next(name for name in labels if name != label)
    return [float(name == wrong) for name in labels]


if __name__ == "__main__":
    sys.exit(main())
