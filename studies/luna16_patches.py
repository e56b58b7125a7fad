#!/usr/bin/env python3
"""Cuts patches for training out of LUNA16's scans.

    studies/luna16_patches.py SCANS CANDIDATES.csv OUT [--negatives N] [--seed S]

SCANS contains the scans (subset0 … subset9 or some of them: .mhd with .raw or .zraw), CANDIDATES.csv is LUNA16's candidates.csv
or candidates_V2.csv (seriesuid, coordX, coordY, coordZ in mm, class). Every candidate of class 1 in an available scan becomes a
patch …_pos.png, and for each of these N random candidates of class 0 become …_neg.png: one axial slice, 50x50 pixels around the
candidate at the scan's own pixel spacing, -1000..400 HU as 0..255, air beyond the scan's edge. OUT/manifest.csv gives each
patch its scan as group, so that `limiar train OUT` keeps a patient's images in one split.

Needs SimpleITK: pip install 'limiar[luna16]'. LUNA16 is CC BY 4.0 (luna16.grand-challenge.org): say so if you publish.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import sys
from pathlib import Path

from limiar.edge_app.errors import LimiarError
from limiar.edge_app.system.progress import ProgressLine
from limiar.train.data.luna16 import choose, read_candidates, write_patches


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path)
    parser.add_argument("candidates", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--negatives", type=float, default=1.0, help="patches without a nodule for each with one (default: 1)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    try:
        scans = {path.stem: path for path in sorted(asked.scans.rglob("*.mhd"))}
        chosen = choose(read_candidates(asked.candidates, set(scans)), asked.negatives, asked.seed)
        with ProgressLine() as line:
            count = write_patches(scans, chosen, asked.out, lambda done, total: line.draw(f"patches: {done} of {total}"))
    except LimiarError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{count} patches of {len({c.scan for c in chosen})} scans: {asked.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
