#!/usr/bin/env python3
"""Does a RUN get better with images that were reviewed later? Half of the training images are held back, then added.

    studies/retraining.py DATA OUT [--rates 0.0001,0.0003]

DATA: a folder with manifest.csv (file, label, split, luna16_candidate_row), like the lung data set. Blocks of neighbouring
candidate rows, which come from the same scans, stay together. RUNs go to OUT, and an existing one is not made again. The
figures are those of the validation split.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import csv
import subprocess
import sys
from pathlib import Path

import numpy as np

from limiar.edge_app.inference.softmax import softmax
from limiar.train.record.metrics import class_metrics, nll
from limiar.train.record.run_folder import read_predictions, read_run

BLOCK = 100  # candidate rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rates", default="", help="also continue with these learning rates, separated by commas")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with (asked.data / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    later = [row for row in rows if row["split"].startswith("train") and int(row["luna16_candidate_row"]) // BLOCK % 2]
    first = [row for row in rows if row not in later]
    half, whole = write(asked.out / "half.csv", first), write(asked.out / "whole.csv", rows)
    reviewed = write(asked.out / "reviewed.csv", [row | {"path": str(asked.data / row["file"]), "file": ""} for row in later])
    train(asked.data, asked.out / "half", "--quick", "--csv", half)
    train(asked.data, asked.out / "whole", "--quick", "--csv", whole)
    more = ("--from", asked.out / "half", "--add", reviewed)
    train(asked.data, asked.out / "continued", *more)
    for rate in filter(None, asked.rates.split(",")):
        train(
            asked.data, asked.out / f"continued-{rate}", *more, "--set", f"rate={rate}", "--set", f"rate_end={float(rate) / 20}"
        )
    for run in sorted(asked.out.glob("*/train.json")):
        print(line(run.parent))
    return 0


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "path", "label", "split"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def train(data: Path, out: Path, *words: str | Path) -> None:
    if not out.exists():
        subprocess.run([sys.executable, "-P", "-m", "limiar", "train", data, "--out", out, *words], check=True)


def line(path: Path) -> str:
    run = read_run(path)
    rows = [row for row in read_predictions(path, run) if row.split == "val"]
    answers = softmax(np.array([row.logits for row in rows]))
    truth = np.array([run.labels.index(row.label) for row in rows])
    figures = class_metrics(truth, answers, run.labels, run.positive)
    loss = nll(truth, answers)
    shown = "  ".join(f"{name} {figures[name].value:.3f}" for name in ("accuracy", "sensitivity", "specificity", "auc"))
    return f"{path.name:<18} {run.data.images} images, epoch {run.best_epoch:>2} of {run.epochs}  {shown}  nll {loss:.3f}"


if __name__ == "__main__":
    sys.exit(main())
