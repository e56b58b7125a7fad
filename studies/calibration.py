#!/usr/bin/env python3
"""What can a RUN's test images say about its calibration?

    studies/calibration.py RUN... [--fresh DATA]

Prints the calibration error (ECE) that the test split shows, and what it would show if every confidence were exactly right, on
average and at most in 95 of 100 draws: truths are drawn from the model's own probabilities. --fresh measures it on other
images, which may be many.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
from pathlib import Path

import numpy as np

from limiar.convert.source.keras_model import keras_logits
from limiar.convert.source.origin import RunFolder
from limiar.convert.source.source_model import read_source
from limiar.edge_app.inference.softmax import softmax
from limiar.train.dataset.image_folder import load
from limiar.train.dataset.splits import Shares
from limiar.train.record.metrics import ece
from limiar.train.record.run_folder import Run, read_predictions, read_run

DRAWS = 2000
LINE = "{:<28} {:>7} {:>7} {:>18} {:>16} {:>14}"


def main() -> None:
    """A line for each RUN."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--fresh", type=Path, metavar="DATA", help="a folder of labelled images that are not the RUN's")
    asked = parser.parse_args()
    print(LINE.format("run", "images", "ece", "if exact, on average", "95 % of draws", "ece, fresh"))
    for folder in asked.runs:
        run = read_run(folder)
        rows = [row for row in read_predictions(folder, run) if row.split == "test"]
        truth = np.array([run.labels.index(row.label) for row in rows])
        answers = softmax(np.array([row.logits for row in rows]))
        chance = if_exact(answers, np.random.default_rng(0))
        fresh = f"{_fresh(folder, run, asked.fresh):.3f}" if asked.fresh else ""
        mean, most = f"{chance.mean():.3f}", f"{np.quantile(chance, 0.95):.3f}"
        print(LINE.format(folder.name, len(rows), f"{ece(truth, answers):.3f}", mean, most, fresh), flush=True)


def if_exact(answers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[DRAWS] calibration errors of truths that are drawn from probabilities [N, K]."""
    below = answers.cumsum(axis=1)[:, :-1]
    truths = ((rng.random((len(answers), 1)) > below).sum(axis=1) for _ in range(DRAWS))
    return np.array([ece(truth, answers) for truth in truths])


def _fresh(folder: Path, run: Run, data: Path) -> float:
    """The error on other images."""
    images, _ = load(data, None, run.input, Shares(seed=0, minimum=1), lambda done, total: None)
    model = read_source(RunFolder(folder), seed=0).model
    order = np.array([run.labels.index(label) for label in images.labels])
    return ece(order[images.truth], softmax(keras_logits(model, images.images.take(np.arange(len(images.rows))))))


if __name__ == "__main__":
    main()
