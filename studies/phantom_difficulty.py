#!/usr/bin/env python3
"""How hard are the phantoms? They must be hard for a model that sees brightness alone, and learnable for `compact`.

    studies/phantom_difficulty.py [--seed S] [--no-compact]

1,500 phantoms of one seed for training, 1,000 of another for test. Exit status 3 if a figure misses its aim.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.image.read import decode
from limiar.edge_app.image.resize import model_input
from limiar.train.data.phantom_folder import write_phantoms
from limiar.train.data.phantoms import phantoms
from limiar.train.fit.importing import quiet
from limiar.train.record.metrics import auc
from limiar.train.record.run_folder import MODEL, read_run

TRAIN, TEST = 1500, 1000
PIXELS_BELOW, HISTOGRAM_BELOW, COMPACT_ABOVE, COMPACT_SECONDS = 0.90, 0.75, 0.97, 180.0
STRENGTHS = (1.0, 1e-2, 1e-4)  # inverse penalties of the regression; the best one on test counts, in its favour
BINS = 32

Truth = NDArray[np.bool_]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="seed of the training series; the test series has the next")
    parser.add_argument("--no-compact", action="store_true", help="skip the minute of training")
    asked = parser.parse_args()
    (seen, truth), (unseen, answers) = series(TRAIN, asked.seed), series(TEST, asked.seed + 1)
    passed = [
        judged("logistic regression, 40x40 pixels", regression(seen, truth, unseen, answers, flat), PIXELS_BELOW, -1),
        judged("logistic regression, histogram", regression(seen, truth, unseen, answers, histogram), HISTOGRAM_BELOW, -1),
    ]
    if not asked.no_compact:
        area, seconds = compact(asked.seed)
        passed.append(judged("compact", area, COMPACT_ABOVE, +1))
        passed.append(judged("compact, seconds of training", seconds, COMPACT_SECONDS, -1))
    return 0 if all(passed) else 3


def series(count: int, seed: int) -> tuple[Pixels, Truth]:
    """Model inputs uint8 [N, 40, 40] and whether each has a nodule."""
    made = list(phantoms(count, seed))
    spec = InputSpec(height=40, width=40, channels=1)
    pixels = np.concatenate([model_input(decode(data, name), spec)[..., 0] for name, data in made])
    return pixels, np.array(["_pos" in name for name, _ in made])


def flat(images: Pixels) -> NDArray[np.float64]:
    return images.reshape(len(images), -1) / 255.0


def histogram(images: Pixels) -> NDArray[np.float64]:
    """Mean, deviation and a histogram of 32 bins."""
    return np.stack([[i.mean(), i.std(), *np.histogram(i, BINS, (0, 256))[0]] for i in images])


def regression(
    seen: Pixels, truth: Truth, unseen: Pixels, answers: Truth, features: Callable[[Pixels], NDArray[np.float64]]
) -> float:
    """AUC on the unseen series with the best penalty."""
    models = [make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000)) for strength in STRENGTHS]
    return max(auc(answers, model.fit(features(seen), truth).decision_function(features(unseen))) for model in models)


def compact(seed: int) -> tuple[float, float]:
    """(AUC on the unseen series, seconds) of `limiar train` on the seen one."""
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder, name) for name in ("seen", "unseen", "run")]
        for place, count, own in ((places[0], TRAIN, seed), (places[1], TEST, seed + 1)):
            write_phantoms(place, count, seed=own)
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "limiar", "train", places[0], "--quick", "--out", places[2]], check=True)
        seconds = time.monotonic() - started
        return unseen_auc(places[2], seed + 1), seconds


def unseen_auc(run: Path, seed: int) -> float:
    with quiet():
        import keras

    spec = read_run(run).input
    made = list(phantoms(TEST, seed))
    pixels = np.concatenate([model_input(decode(data, name), spec) for name, data in made])
    scores = keras.saving.load_model(run / MODEL, safe_mode=True).predict(pixels, verbose=0)
    return auc(["_pos" in name for name, _ in made], scores[:, 1] - scores[:, 0])


def judged(name: str, value: float, limit: float, sign: int) -> bool:
    good = sign * (value - limit) > 0
    print(f"{name:36} {value:8.3f}   {'above' if sign > 0 else 'below'} {limit:g}: {'yes' if good else 'NO'}", flush=True)
    return good


if __name__ == "__main__":
    sys.exit(main())
