#!/usr/bin/env python3
"""Takes ten unbalanced classes of RGB images from images to answers, with limiar's commands alone. All files go to OUT.

    studies/ten_classes.py OUT [--rarest 480]

Generates coloured shapes (studies/coloured_shapes.py) of mixed sizes, `--rarest` images of the rarest class and four times as
many of the most frequent; trains on them, converts the model, and scans 20 images of each class that training never saw.
Prints the scan's accuracy, the recall of each class, and the accuracy of a regression on the mean colour. Exit status 1 if a
command fails. With fewer than 480 images of the rarest class, the gate may find its test split too small to judge.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression

from coloured_shapes import CLASSES, counts, write_shapes

UNSEEN = 20  # of each class
SIZE = "32x48"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rarest", type=int, default=480)
    asked = parser.parse_args()
    out: Path = asked.out
    images = counts(asked.rarest)
    write_shapes(out / "images", images, seed=1)
    write_shapes(out / "unseen", dict.fromkeys(CLASSES, UNSEEN), seed=2)
    limiar("train", out / "images", "--quick", "--size", SIZE, "--out", out / "run", "--set", "epochs=25")
    limiar("convert", out / "run", "--out", out / "bundle")
    limiar("scan", out / "bundle", out / "unseen", "--db", out / "results.db", "--jsonl", out / "answers.jsonl")
    answers = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    right = Counter(
        Path(answer["path"]).parent.name for answer in answers if answer["label"] == Path(answer["path"]).parent.name
    )
    for name in CLASSES:
        print(f"{name:14} {images[name]:5} images  recall {right[name] / UNSEEN:.2f}")
    print(
        f"accuracy on {len(answers)} unseen images {right.total() / len(answers):.3f}; by mean colour {by_mean_colour(out):.3f}"
    )
    return 0


def limiar(*words: str | Path) -> None:
    """Runs a command; ends the script if it fails."""
    started = time.monotonic()
    command = [sys.executable, "-P", "-c", "from limiar.edge_app.cli import main; main()", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
    print(done.stdout if words[0] == "train" else "", end="")
    if done.returncode:
        sys.exit(f"limiar {words[0]} ended with status {done.returncode}")
    print(f"limiar {words[0]}: {time.monotonic() - started:.0f} s", flush=True)


def by_mean_colour(out: Path) -> float:
    """Accuracy on the unseen images of a regression on each image's mean red, green and blue."""
    (seen, truth), (unseen, answers) = (mean_colours(out / name) for name in ("images", "unseen"))
    model = LogisticRegression(max_iter=1000, class_weight="balanced").fit(seen, truth)
    return float(np.mean(model.predict(unseen) == answers))


def mean_colours(folder: Path) -> tuple[np.ndarray, list[str]]:
    paths = sorted(folder.rglob("*.png"))
    colours = [np.asarray(Image.open(path), np.float64).mean(axis=(0, 1)) / 255 for path in paths]
    return np.stack(colours), [path.parent.name for path in paths]


if __name__ == "__main__":
    sys.exit(main())
