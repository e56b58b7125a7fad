"""Which images are for training, validation and test: as given, or drawn, with what belongs together in one part."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from limiar.edge_app.errors import DataError, printable
from limiar.train.dataset.listed import Listed


@dataclass(frozen=True)
class Shares:
    """How images without a given split are divided, and how few of a class are too few."""

    seed: int
    test: float = 0.25  # of all images: the course's 75/25
    val: float = 0.15  # of all images, taken from the other 75 %
    minimum: int = 8  # images of each class in each part; fewer say nothing about a class


def given_or_drawn(images: Sequence[Listed], tensors: Sequence[str], shares: Shares) -> tuple[list[str], tuple[str, ...]]:
    """The split of each image, with notes for the person. Raises DataError.

    A given validation or test part is kept; one that is missing is drawn from the training part. Without any all three are.
    """
    given = [image.split for image in images]
    aims = {"test": shares.test, "val": shares.val}
    if not any(given):
        return _drawn(images, tensors, aims, shares.seed), ()
    if not all(given):
        bare = images[given.index("")].file
        raise DataError("E-DATA-SPLIT", f"{printable(bare)} has no split, but others do: give every image one, or none")
    missing = [part for part in aims if part not in given]
    if not missing:
        return given, ()
    training = [k for k, split in enumerate(given) if split.startswith("train")]
    # A share of the training part: relative to what the given parts leave.
    rest = 1 - sum(aims[part] for part in aims if part not in missing)
    own = {part: aims[part] / rest for part in missing}
    drawn = _drawn([images[k] for k in training], [tensors[k] for k in training], own, shares.seed)
    for k, split in zip(training, drawn, strict=True):
        given[k] = given[k] if split == "train" else split
    counts = " and ".join(f"{given.count(part)} for {part}" for part in missing)
    return given, (f"the given splits lack {' and '.join(missing)}: drawn from the training images, {counts}",)


def _drawn(images: Sequence[Listed], tensors: Sequence[str], parts: dict[str, float], seed: int) -> list[str]:
    """Draws parts with the given shares; the rest is "train". Groups and equal images stay together, labels in proportion.

    Greedy: units in seeded random order, the largest first, each to the part that lacks its labels most.
    """
    labels = sorted({image.label for image in images})
    together = units(images, tensors)
    counts = np.zeros((len(together), len(labels)))
    for u, unit in enumerate(together):
        for k in unit:
            counts[u, labels.index(images[k].label)] += 1
    names = [*parts, "train"]
    aims = np.array([*parts.values(), 1 - sum(parts.values())])[:, None] * counts.sum(axis=0)
    order = np.random.default_rng(seed).permutation(len(together))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    filled, splits = np.zeros_like(aims), ["train"] * len(images)
    for u in order:
        # The part whose lack of this unit's labels is largest, relative to its aim.
        part = int(np.argmax(((aims - filled) / np.maximum(aims, 1e-9)) @ counts[u]))
        filled[part] += counts[u]
        for k in together[u]:
            splits[k] = names[part]
    return splits


def units(images: Sequence[Listed], tensors: Sequence[str]) -> list[list[int]]:
    """Row numbers that must not be separated: of one group, or of equal images, or joined by a chain of both."""
    first: dict[tuple[str, str], int] = {}
    pairs = []
    for k, (image, tensor) in enumerate(zip(images, tensors, strict=True)):
        keys = [("tensor", tensor)] + ([("group", image.group)] if image.group else [])
        pairs += [(k, first.setdefault(key, k)) for key in keys]
    return joined(len(images), pairs)


def joined(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Divides 0..count-1 into sets, each in order, of what pairs and chains of pairs join."""
    parent = list(range(count))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = k = parent[parent[k]]
        return k

    for k, other in pairs:
        parent[root(k)] = root(other)
    sets = defaultdict(list)
    for k in range(count):
        sets[root(k)].append(k)
    return list(sets.values())
