#!/usr/bin/env python3
"""Draws phantoms next to real CT patches in one picture, to see whether they look alike.

    studies/contact_sheet.py SHEET.png [--seed S] [--lung DIR]

Columns 1-8 are phantoms, 9-16 patches of the `lung` data set (its training split); the upper half has nodules, the lower half
has none. The picture contains CT patches: keep it out of the project.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import csv
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from limiar.train.data.phantoms import SIDE, phantoms

COLUMNS, ROWS = 8, 5  # of each of the four blocks
ZOOM, GAP = 2, 4  # px


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    default = Path(os.environ.get("LIMIAR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "lung"
    parser.add_argument("--lung", type=Path, default=default)
    asked = parser.parse_args()
    project = Path(__file__).resolve().parents[1]
    if asked.sheet.resolve().is_relative_to(project) and not asked.sheet.resolve().is_relative_to(project / "out"):
        parser.error(f"{asked.sheet} would put CT patches into the project: give a path outside the project, or below out/")
    count = COLUMNS * ROWS
    made = list(phantoms(2 * count, asked.seed))
    rng = np.random.default_rng(asked.seed)
    blocks = [
        [Image.open(io.BytesIO(data)) for name, data in made if label in name] + real_patches(asked.lung, label, count, rng)
        for label in ("_pos", "_neg")
    ]
    cell = SIDE * ZOOM + GAP
    sheet = Image.new("L", (2 * COLUMNS * cell + 2 * GAP, 2 * ROWS * cell + 2 * GAP), 255)
    for half, images in enumerate(blocks):
        for k, image in enumerate(images):
            block, place = divmod(k, count)
            x = (block * COLUMNS + place % COLUMNS) * cell + 2 * GAP * block
            y = (half * ROWS + place // COLUMNS) * cell + 2 * GAP * half
            sheet.paste(image.resize((SIDE * ZOOM, SIDE * ZOOM), Image.Resampling.NEAREST), (x, y))
    sheet.save(asked.sheet)
    print(asked.sheet)


def real_patches(folder: Path, label: str, count: int, rng: np.random.Generator) -> list[Image.Image]:
    """`count` patches of the training split, drawn at random."""
    with (folder / "manifest.csv").open(newline="") as table:
        names = [row["file"] for row in csv.DictReader(table) if row["split"] == "train" and label in row["file"]]
    return [Image.open(folder / names[k]) for k in rng.permutation(len(names))[:count]]


if __name__ == "__main__":
    main()
