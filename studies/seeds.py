#!/usr/bin/env python3
"""How much of a figure is chance? Prints RUNs that differ only in their seed side by side, with the standard deviation.

    for seed in 0 1 2 3 4; do limiar train DATA --recipe reference --seed $seed --out runs/$seed; done
    studies/seeds.py runs/0 runs/1 runs/2 runs/3 runs/4

DATA must have a given split (a table with the column `split`), because each seed would draw a different one. The figures are
those of the Keras models on the test split, from each RUN's predictions.csv. The last line says how many images are wrong in
how many networks: chance spreads errors over images; a wrong label or a missing kind of training image concentrates them.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import sys
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.inference.softmax import softmax
from limiar.train.record.metrics import class_metrics
from limiar.train.record.run_folder import Run, read_predictions, read_run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    folders = parser.parse_args().runs
    if len(folders) < 2:
        parser.error("give two RUNs or more")
    runs = [read_run(folder) for folder in folders]
    if len({run.data.sha256 for run in runs}) > 1:
        sys.exit(
            "these RUNs differ in images or splits: if the seed drew the split, train each with a --csv that has a column split"
        )
    if len({identity(run) for run in runs}) > 1 or len({run.seed for run in runs}) < len(runs):
        sys.exit(
            "these RUNs differ in more than their seed, or two have the same seed: give RUNs of one recipe with different seeds"
        )
    table = [figures(folder, run) for folder, run in zip(folders, runs, strict=True)]
    names = list(table[0])
    print(f"{runs[0].model}, recipe {runs[0].recipe}, test split")
    print("seed     " + "".join(f"{name:>13}" for name in names))
    for run, found in zip(runs, table, strict=True):
        print(f"{run.seed:<9}" + "".join(f"{found[name]:13.4f}" for name in names))
    values = np.array([[found[name] for name in names] for found in table])
    for word, row in (("mean", values.mean(axis=0)), ("deviation", values.std(axis=0, ddof=1))):
        print(f"{word:<9}" + "".join(f"{value:13.4f}" for value in row))
    wrong = np.bincount(np.sum([mistaken(folder, run) for folder, run in zip(folders, runs, strict=True)], axis=0))
    print("wrong by  " + "  ".join(f"{count} networks: {images}" for count, images in enumerate(wrong) if count))
    return 0


def identity(run: Run) -> bytes:
    """Everything that must be the same."""
    same = (run.model, run.recipe, run.labels, run.positive, run.input, sorted(run.config.items()))
    return msgspec.json.encode(same)


def figures(folder: Path, run: Run) -> dict[str, float]:
    """Name -> value on the test split."""
    truth, logits = tested(folder, run)
    measured = class_metrics(truth.tolist(), softmax(logits), run.labels, run.positive)
    return {name: metric.value for name, metric in measured.items()}


def mistaken(folder: Path, run: Run) -> NDArray[np.bool_]:
    """Whether each image of the test split is wrong [N], in the RUN's order, which is that of the data."""
    truth, logits = tested(folder, run)
    return np.asarray(logits.argmax(axis=1) != truth)


def tested(folder: Path, run: Run) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Truth [N] and logits [N, K] of the test split."""
    rows = [row for row in read_predictions(folder, run) if row.split == "test"]
    return np.array([run.labels.index(row.label) for row in rows]), np.array([row.logits for row in rows])


if __name__ == "__main__":
    sys.exit(main())
