"""Labels that a model, which has not seen them, confidently holds to be wrong.

Out-of-fold probabilities as in confident learning (Northcutt, Jiang & Chuang, 2021), with the decision kept strict: an image
is a candidate where its own label gets less than SUSPECT. Random trees over features of shape answer in seconds, and their
probabilities are made honest by a temperature over all folds. An honest model is wrong that confidently now and then: the
sum of those small probabilities says how often, and where no more candidates are met than that, none is reported.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import StratifiedGroupKFold

from train.calibrate import fit_temperature, probabilities

SUSPECT = 0.02  # probability of the given label
FOLDS = 5
LEAST = 20  # images of a class, each in its own fold's training part; fewer teach a model nothing
_TREES = 300
_FLOOR = 1e-4  # of a probability: no tree voted for it
_SHARPNESS = 4.0  # a mean over trees is timid: its logits are taken four times, which puts T within fit_temperature's range


@dataclass(frozen=True)
class Labels:
    """What the trees think of the labels."""

    accuracy: float  # out of fold, against the given labels
    expected: float  # candidates that an honest model would name where every label is right
    suspects: tuple[tuple[int, str, float], ...]  # row, the other label, probability of the given one; least first


def suspects(
    features: NDArray[np.float32], labels: Sequence[str], units: NDArray[np.int64], seed: int, tick: Callable[[int, int], None]
) -> Labels | None:
    """features: [N, F] with the label of each row; rows of one unit (group, equal or near images) share a fold.

    None where the classes are too small. tick: (folds done, in all).
    """
    names = sorted(set(labels))
    truth = np.array([names.index(label) for label in labels])
    units_of = {
        name: len({unit for unit, label in zip(units.tolist(), labels, strict=True) if label == name}) for name in names
    }
    if len(names) < 2 or min(Counter(labels).values()) < LEAST or min(units_of.values()) < FOLDS:
        return None
    given = np.full((len(truth), len(names)), _FLOOR)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(features, truth, units)
    for number, (training, held) in enumerate(folds, start=1):
        trees = ExtraTreesClassifier(_TREES, min_samples_leaf=2, class_weight="balanced", n_jobs=-1, random_state=seed)
        trees.fit(features[training], truth[training])
        given[np.ix_(held, trees.classes_)] = trees.predict_proba(features[held])
        tick(number, FOLDS)
    scores = _SHARPNESS * np.log(given.clip(_FLOOR))
    answers = probabilities(scores / fit_temperature(scores, truth))
    own = answers[np.arange(len(truth)), truth]
    rows = [int(row) for row in np.argsort(own, kind="stable") if own[row] < SUSPECT]
    expected = float(answers[answers < SUSPECT].sum())
    found = tuple((row, names[int(answers[row].argmax())], float(own[row])) for row in rows) if len(rows) > expected else ()
    return Labels(float((answers.argmax(axis=1) == truth).mean()), expected, found)
