#!/usr/bin/env python3
"""Has `limiar series` look for spheres in many phantom series, and in the same series without spheres.

    tests/harness/phantom_series.py [--series 20] [--seed N] [--bundle BUNDLE] [--keep DIR]

Every sphere must be found within 2 mm, nothing else may be found, and nothing at all in a series without spheres. The bundle is
that of the tests (tests/writers/sphere_bundle.py) unless another is given; it was trained on patches of other seeds.
Control: the same findings, compared with spheres that lie 3 mm higher, must be called wrong.
Exit status 1 if a sphere was missed, something else was found, or the control was not called wrong.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

TESTS = Path(__file__).resolve().parents[1]
sys.path.append(str(TESTS / "writers"))
from limiar.edge_app.image.containers.dicom_place import uid_hash  # noqa: E402
from limiar.edge_app.series.study import Study  # noqa: E402
from limiar.train.data.phantom_folder import write_phantom_series  # noqa: E402
from limiar.train.data.phantom_series import TRUTH, TrueSeries, TrueSphere  # noqa: E402
from sphere_bundle import sphere_bundle  # type: ignore[import-not-found]  # noqa: E402

NEAR_MM = 2.0  # from a finding to its sphere, at most
OFF_MM = 3.0  # by which the control's spheres are elsewhere


class Judged(NamedTuple):
    """The findings of some series, against their spheres."""

    away_mm: list[float]  # of each sphere, from the nearest finding that is no other sphere's
    missed: int  # spheres without a finding within NEAR_MM
    others: int  # findings that are no sphere's

    @property
    def wrong(self) -> bool:
        return bool(self.missed or self.others)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--series", type=int, default=20, help="with spheres, and as many without (default: %(default)s)")
    options.add_argument("--seed", type=int, default=1000, help="of the series (default: %(default)s)")
    options.add_argument("--bundle", type=Path, help="that answers (default: the tests')")
    options.add_argument("--keep", type=Path, metavar="DIR", help="make the series here, and leave them")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="limiar-phantom-series-") as name:
        folder = asked.keep or Path(name)
        bundle = asked.bundle or sphere_bundle(Path(name) / "bundle")
        full, empty = folder / "ct", folder / "empty"
        write_phantom_series(full, asked.series, seed=asked.seed)
        write_phantom_series(empty, asked.series, seed=asked.seed, empty=True)
        truths = msgspec.json.decode((full / TRUTH).read_bytes(), type=list[TrueSeries])
        found, nothing = (studies(bundle, series, Path(name)) for series in (full, empty))
    judged = judge(found, truths)
    control = judge(found, [moved(truth) for truth in truths])
    others = sum(len(study.findings or ()) for study in nothing.values())
    away = sorted(judged.away_mm)
    print(
        f"seed {asked.seed}, {asked.series} series: {len(away)} spheres, {judged.missed} missed, {judged.others} other findings"
    )
    print(f"from a sphere to its finding: median {away[len(away) // 2]:.2f} mm, at most {away[-1]:.2f} mm")
    print(f"{asked.series} series without spheres: {others} findings")
    print(f"control, spheres {OFF_MM:g} mm higher: {control.missed} missed")
    complete = len(found) == len(nothing) == asked.series
    return int(judged.wrong or others > 0 or not complete or control.missed < len(away) // 2)


def studies(bundle: Path, folder: Path, state: Path) -> dict[str, Study]:
    """Hashed series UID -> what `limiar series` says of it. Raises CalledProcessError."""
    command = [sys.executable, "-m", "limiar", "series", str(bundle), str(folder), "--workers", str(os.cpu_count() or 1)]
    environment = {**os.environ, "LIMIAR_STATE": str(state / "state")}
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
    decoded = [msgspec.json.decode(line, type=Study) for line in told.splitlines()]
    return {study.series: study for study in decoded}


def judge(found: dict[str, Study], truths: Sequence[TrueSeries]) -> Judged:
    away: list[float] = []
    others = 0
    for truth in truths:
        places = [finding.place_mm for finding in found[uid_hash(truth.series)].findings or ()]
        nearest = [min((math.dist(place, sphere.place_mm) for place in places), default=math.inf) for sphere in truth.spheres]
        away += nearest
        others += len(places) - sum(mm <= NEAR_MM for mm in nearest)
    return Judged(away, sum(mm > NEAR_MM for mm in away), others)


def moved(truth: TrueSeries) -> TrueSeries:
    """The same spheres elsewhere."""
    spheres = tuple(
        TrueSphere((sphere.place_mm[0], sphere.place_mm[1], sphere.place_mm[2] + OFF_MM), sphere.radius_mm, sphere.hu)
        for sphere in truth.spheres
    )
    return TrueSeries(truth.folder, truth.series, spheres)


if __name__ == "__main__":
    sys.exit(main())
