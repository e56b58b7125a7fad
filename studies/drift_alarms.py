#!/usr/bin/env python3
"""How often does the drift monitor raise a false alarm, and how soon does it see a change? Prints the tables of docs/drift.md.

    studies/drift_alarms.py [BUNDLE DATA] [--windows 20000] [--runs 200] [--seed 0]

First table: windows with a warning where references of several sizes and streams are drawn from one distribution. Second table,
with a bundle and its images (DATA/manifest.csv): the bundle's own reference, and streams of 500 drawn from the test split,
unchanged and changed; then the test split in the order of its table, where images of one scan follow each other.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from limiar.edge_app.answer import Answer
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import REFER, STATISTICS
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.drift.monitor import WINDOW, DriftWarning, Monitor
from limiar.edge_app.drift.reference import Reference, compared, distribution
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.inference.classifier import Classifier, load
from limiar.edge_app.inference.session import Session
from limiar.train.data.phantoms import phantom

SIZES = (50, 100, 250, 1000, 10_000)  # of references
YEAR = 20  # windows that one reference sees, before another is drawn
Row = tuple[str, float, tuple[float, ...]]  # decision, confidence, statistics


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("bundle", type=Path, nargs="?")
    options.add_argument("data", type=Path, nargs="?")
    options.add_argument("--windows", type=int, default=20_000)
    options.add_argument("--runs", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    rng = np.random.default_rng(asked.seed)
    print(f"{'images of the reference':>24}{'windows':>10}{'with a warning':>16}")
    for size in SIZES:
        windows, alarms = false_alarms(size, asked.windows, rng)
        print(f"{size:>24}{windows:>10}{alarms:>16}")
    if asked.bundle and asked.data:
        changes(asked.bundle, asked.data, asked.runs, rng)


def false_alarms(size: int, windows: int, rng: np.random.Generator) -> tuple[int, int]:
    """Windows, and those with a warning, where nothing has changed."""
    alarms = seen = 0
    while seen < windows:
        monitor = Monitor(reference_of(made(size, rng)))
        last = {warning.last for answer in made(YEAR * WINDOW, rng) for warning in monitor.add(*answer)}
        alarms += len(last)
        seen += YEAR
    return seen, alarms


def made(count: int, rng: np.random.Generator) -> Iterable[Row]:
    """Answers whose statistics depend on each other, with ties and with a share of zeros, as those of images have."""
    mean, spread = rng.normal(90, 20, count), np.abs(rng.normal(0.5, 0.1, count))
    deviation = mean * spread
    low, high = np.maximum(0, np.rint(mean - 2.5 * deviation)), np.minimum(255, np.rint(mean + 2.5 * deviation))
    clipped = np.where(high < 255, 0, rng.random(count) / 10)
    sharpness, confidence = deviation * rng.lognormal(2, 1, count), 0.5 + rng.random(count) / 2
    statistics = np.stack([mean, deviation, low, high, sharpness, clipped, np.zeros(count)], axis=1).tolist()
    decisions = np.where(confidence < 0.6, REFER, np.where(rng.random(count) < 0.3, "pos", "neg")).tolist()
    return zip(decisions, confidence.tolist(), map(tuple, statistics), strict=True)


def reference_of(answers: Iterable[Row]) -> Reference:
    answers = list(answers)
    values = np.array([compared(statistics, confidence) for _, confidence, statistics in answers])
    decisions = Counter(decision for decision, _, _ in answers)
    names = (*STATISTICS, "confidence")
    return Reference(
        len(answers),
        {name: distribution(values[:, k].tolist(), 20) for k, name in enumerate(names)},
        {name: decisions[name] for name in ("neg", "pos", REFER)},
    )


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "unchanged": lambda image: image,
    "5 % brighter": lambda image: scaled(image, 1.05),
    "10 % brighter": lambda image: scaled(image, 1.1),
    "10 % darker": lambda image: scaled(image, 0.9),
    "25 levels brighter": lambda image: np.clip(image.astype(np.int16) + 25, 0, 255).astype(np.uint8),
}


def scaled(image: Pixels, gain: float) -> Pixels:
    return np.asarray(np.clip(np.rint(image * gain), 0, 255), np.uint8)


def changes(bundle: Path, data: Path, runs: int, rng: np.random.Generator) -> None:
    session = Session(open_bundle(bundle), measure=True)
    reference = session.reference()
    if reference is None:
        raise SystemExit(f"{bundle} has no reference: convert it again with this version")
    classifier = load(session.model)
    test = list(read_test(data))
    phantoms = [phantom(rng, None) for _ in range(500)]
    streams = {name: [change(image) for image in test] for name, change in CHANGES.items()} | {"phantoms": phantoms}
    print(f"\n{'streams of 500':<24}{'runs with a warning':>20}  after 250  most often")
    for name, images in streams.items():
        answers = answered(classifier, images)
        warned = [watch(reference, [answers[k] for k in rng.integers(0, len(answers), 500)]) for _ in range(runs)]
        said = [found for found in warned if found]
        soon = sum(found[0].last == WINDOW for found in said)
        often = Counter(warning.statistic for found in said for warning in found).most_common(3)
        print(f"{name:<24}{len(said):>12} of {runs:<5}{soon:>11}  {', '.join(what for what, _ in often)}")
    found = watch(reference, answered(classifier, test))
    print(f"\nthe test split in its own order: {len(found)} warnings {[warning.message for warning in found]}")


def answered(classifier: Classifier, images: Sequence[Pixels]) -> list[Answer]:
    found = []
    for image in images:
        try:
            found.append(classifier.answer(image))
        except ImageError:
            continue
    return found


def watch(reference: Reference, answers: Sequence[Answer]) -> list[DriftWarning]:
    monitor = Monitor(reference)
    return [warning for one in answers for warning in monitor.add(one.decision, one.confidence, one.statistics or ())]


def read_test(data: Path) -> Iterable[Pixels]:
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == "test":
                picture = decode(read_file(os.fsencode(data / row["file"])), row["file"])
                yield picture[0 : picture.shape[0]]


if __name__ == "__main__":
    main()
