"""Traits that give the label away without the picture: a model learns them, and fails on images that lack them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from limiar.train.check.survey import TRAITS, Survey
from limiar.train.record.metrics import auc

SEPARATES = 0.95  # AUC of one trait, for one class against the others
LEAST = 8  # images on either side; fewer would be separated by chance
# How the file was made, which no scene decides. Brightness, contrast and file size may be the scene's own.
OF_THE_FILE = frozenset(TRAITS) - {"file size", "brightness", "contrast"}


@dataclass(frozen=True)
class Shortcut:
    """A trait, the label that it tells from the others, and the AUC with which it does (0.5..1)."""

    trait: str
    label: str
    auc: float


def shortcuts(seen: Survey, labels: Sequence[str]) -> list[Shortcut]:
    """For each trait the label that it separates best, if its AUC is at least SEPARATES."""
    given = np.array([image.label for image in seen.images])
    best: dict[str, Shortcut] = {}
    for label in labels:
        own = given == label
        if min(own.sum(), (~own).sum()) < LEAST:
            continue
        for trait in TRAITS:
            value = auc(own, seen.trait(trait))
            found = Shortcut(trait, label, max(value, 1 - value))
            if found.auc >= SEPARATES and (trait not in best or found.auc > best[trait].auc):
                best[trait] = found
    return list(best.values())
