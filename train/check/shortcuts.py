"""Traits that give the label away without a look at the picture: a model takes the easy way, and fails where it is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from limiar.train.check.survey import TRAITS, Survey
from limiar.train.record.metrics import auc

SEPARATES = 0.95  # AUC of one trait, for one class against the others
LEAST = 8  # images on either side; of fewer, some trait would separate them by chance
# What no scene has: how the file was made. Brightness, contrast and file size may be the scene's own.
OF_THE_FILE = frozenset(TRAITS) - {"file size", "brightness", "contrast"}


@dataclass(frozen=True)
class Shortcut:
    """A trait, the label that it tells from the others, and the AUC with which it does (0.5..1)."""

    trait: str
    label: str
    auc: float


def shortcuts(scan: Survey, labels: Sequence[str]) -> list[Shortcut]:
    """Of each trait the label that it separates best, where that is at least SEPARATES."""
    given = np.array([image.label for image in scan.images])
    best: dict[str, Shortcut] = {}
    for label in labels:
        own = given == label
        if min(own.sum(), (~own).sum()) < LEAST:
            continue
        for trait in TRAITS:
            value = auc(own, scan.trait(trait))
            found = Shortcut(trait, label, max(value, 1 - value))
            if found.auc >= SEPARATES and (trait not in best or found.auc > best[trait].auc):
                best[trait] = found
    return list(best.values())
