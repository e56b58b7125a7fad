#!/usr/bin/env python3
"""How many exchanged labels does `limiar check` find? Prints a line for each share of exchanged labels.

    studies/label_noise.py DATA

DATA: a folder of images with two labels. Labels are exchanged in memory; the folder stays unchanged.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import sys
from pathlib import Path

import numpy as np

from limiar.train.check.survey import survey
from limiar.train.check.wrong_labels import suspects
from limiar.train.config import INPUT
from limiar.train.dataset.listing import list_images
from limiar.train.dataset.splits import units

SHARES = (0.0, 0.02, 0.05, 0.1)
LINE = "{:>9} {:>9} {:>13} {:>8} {:>8}"


def main(folder: Path) -> None:
    """Prints one line for each share."""
    images = list_images(folder, None).images
    seen = survey(folder, images, INPUT, np.arange(len(images)), lambda done, total: None)
    unit_of = np.empty(len(seen.images), np.int64)
    for number, unit in enumerate(units(seen.images, seen.tensors)):
        unit_of[unit] = number
    names = sorted({image.label for image in seen.images})
    assert len(names) == 2, "give images of two classes"
    print(f"{len(seen.images)} images")
    print(LINE.format("exchanged", "suspects", "right of them", "estimate", "agreed"))
    for share in SHARES:
        rng = np.random.default_rng(0)
        exchanged = set(rng.choice(len(images), int(share * len(images)), replace=False).tolist())
        labels = [names[(names.index(image.label) + (k in exchanged)) % 2] for k, image in enumerate(seen.images)]
        found = suspects(seen.features, labels, unit_of, 0, lambda done, total: None)
        assert found, "too few images of a class: give more"
        right = sum(row in exchanged for row, _, _ in found.suspects)
        print(LINE.format(len(exchanged), len(found.suspects), right, f"{found.exchanged:.3f}", f"{found.accuracy:.3f}"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
