#!/usr/bin/env python3
"""What does a bundle's envelope cost, and what does it catch? Compares what `limiar scan` decides with and without it.

    studies/envelope.py BUNDLE DATA [--csv MANIFEST] [--count 500] [--seed 0]

DATA: the images that the model was trained on, with a table of splits (by default DATA/manifest.csv); those of val and test are
counted. The other sets are drawn: phantoms, and what a device may see if something is wrong. Images that `limiar scan` would
refuse as not assessable are counted separately. Prints how many images are outside, what share the default file decides with
`--outside ignore` and with the default `refer`, and which statistics were outside most often; also the accuracy on val and
test.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import csv
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import REFER, Metric
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.inference.classifier import Classifier
from limiar.edge_app.runtimes import open_preferred
from limiar.train.data.phantoms import KINDS, SIDE, phantom
from limiar.train.record.metrics import proportion

Image = Pixels  # uint8 [H, W] or [H, W, 3]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("bundle", type=Path)
    options.add_argument("data", type=Path)
    options.add_argument("--csv", type=Path)
    options.add_argument("--count", type=int, default=500)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    bundle = open_bundle(asked.bundle)
    manifest = bundle.manifest
    envelope = manifest.envelope
    if envelope is None:
        raise SystemExit(f"{asked.bundle} has no envelope: convert it again with this version")
    splits, truth = read_splits(asked.data, asked.csv or asked.data / "manifest.csv")
    patches = [image for split in ("val", "test") for image in splits[split]]
    sets: dict[str, list[Image]] = {f"{split} images": images for split, images in splits.items()}
    for name, changed in CHANGES.items():
        sets[name] = [changed(image) for image in patches]
    for name, drawn in DRAWN.items():
        rng = np.random.default_rng(asked.seed)
        sets[name] = [drawn(rng) for _ in range(asked.count)]
    file, model = bundle.model()
    runtime = open_preferred(file.format, model)
    classifier = Classifier(runtime, manifest.labels, manifest.input, file.decision, envelope, "ignore")
    print(f"{manifest.name} {manifest.version}: envelope of {envelope.images} training images; {file.name} decides")
    print(f"{'images':<32}{'n':>6}{'refused':>9}{'outside':>9}{'decided':>9}{'by default':>12}  most often outside in")
    for name, images in sets.items():
        counts, met = Counter[str](), Counter[str]()
        for image in images:
            try:
                answer = classifier.answer(image)
            except ImageError:
                counts["refused"] += 1
                continue
            met.update(answer.outside or ())
            counts["outside"] += bool(answer.outside)
            counts["decided"] += answer.decision != REFER
            counts["default"] += answer.decision != REFER and not answer.outside
        shares = [f"{100 * counts[what] / len(images):.1f} %" for what in ("outside", "decided", "default")]
        often = ", ".join(name for name, _ in met.most_common(3))
        print(f"{name:<32}{len(images):>6}{counts['refused']:>9}{shares[0]:>9}{shares[1]:>9}{shares[2]:>12}  {often}")
    for split, images in splits.items():
        cost(classifier, split, images, truth[split])


def cost(classifier: Classifier, split: str, images: list[Image], labels: list[str]) -> None:
    """Prints how much more is referred to a person, and how much better the decided answers get."""
    answers = [classifier.answer(image) for image in images]
    print(f"\n{split}, {len(images)} images")
    for said, rule in (("--outside ignore", False), ("--outside refer", True)):
        decided = [
            (answer.decision, label)
            for answer, label in zip(answers, labels, strict=True)
            if answer.decision != REFER and not (rule and answer.outside)
        ]
        referred = proportion(len(images) - len(decided), len(images))
        right = proportion(sum(found == label for found, label in decided), len(decided))
        print(f"{said:<18}referred {interval(referred)}  accuracy of the decided {interval(right)}")


def interval(metric: Metric) -> str:
    return f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"


def read_splits(data: Path, table: Path) -> tuple[dict[str, list[Image]], dict[str, list[str]]]:
    """The decoded images of val and test, and their labels."""
    found: dict[str, list[Image]] = {"val": [], "test": []}
    labels: dict[str, list[str]] = {"val": [], "test": []}
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] in found:
                picture = decode(read_file(os.fsencode(data / row["file"])), row["file"])
                found[row["split"]].append(picture[0 : picture.shape[0]])
                labels[row["split"]].append(row["label"])
    return found, labels


CHANGES: dict[str, Callable[[Image], Image]] = {
    "as 16 levels (12 bits in 16)": lambda image: image // 16,
    "16 levels of the full range": lambda image: image // 16 * 16,
    "inverted": lambda image: 255 - image,
    "blurred, sigma 3 px": lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), 3), np.uint8),
    "half as bright": lambda image: image // 2,
    "a fifth noise": lambda image: np.where(np.random.default_rng(0).random(image.shape) < 0.2, 255, image).astype(np.uint8),
    "tinted": lambda image: np.stack([image, image // 4 * 3, image // 4 * 3], axis=-1) if image.ndim == 2 else image,
}


def drawn_phantom(rng: np.random.Generator) -> Image:
    kind = KINDS[int(rng.integers(len(KINDS)))] if rng.random() < 0.5 else None
    return phantom(rng, kind)


def noise(rng: np.random.Generator) -> Image:
    return rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)


def black(rng: np.random.Generator) -> Image:
    """A covered lens: dark, with a little noise."""
    return np.clip(rng.normal(4, 4, (SIDE, SIDE)), 0, 255).astype(np.uint8)


def ramp(rng: np.random.Generator) -> Image:
    """An empty, unevenly lit background."""
    ends = rng.integers(0, 256, (2, 2)).astype(np.float32)
    return np.asarray(cv2.resize(ends, (SIDE, SIDE)), np.float32).astype(np.uint8)


def photo(rng: np.random.Generator) -> Image:
    """What photographs have in common: power that falls as 1 / f^2 (Field 1987), in colour."""
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None, :]
    amplitude = 1 / np.maximum(np.hypot(fy, fx), 1 / SIDE)
    channels = [np.fft.irfft2(np.fft.rfft2(rng.normal(size=(SIDE, SIDE))) * amplitude, (SIDE, SIDE)) for _ in range(4)]
    shared, *own = [channel / channel.std() for channel in channels]
    rgb = np.stack([shared + 0.3 * channel for channel in own], axis=-1)
    return np.clip(rng.uniform(90, 150) + 50 * rgb, 0, 255).astype(np.uint8)


def grey_photo(rng: np.random.Generator) -> Image:
    return photo(rng)[..., 1]


def page(rng: np.random.Generator) -> Image:
    """Dark strokes on white paper."""
    paper = np.full((SIDE, SIDE), 245, np.uint8)
    for row in range(6, SIDE - 4, 8):
        for column in range(4, SIDE - 4):
            if rng.random() < 0.5:
                paper[row : row + 4, column] = 20
    return paper


DRAWN: dict[str, Callable[[np.random.Generator], Image]] = {
    "phantoms (limiar phantoms)": drawn_phantom,
    "noise": noise,
    "black, with a camera's noise": black,
    "an empty, unevenly lit ground": ramp,
    "photo-like, colour": photo,
    "photo-like, grey": grey_photo,
    "a printed page": page,
}


if __name__ == "__main__":
    main()
