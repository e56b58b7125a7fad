"""Labels that are wrong according to a model that has not seen them.

Out-of-fold probabilities, as in confident learning (Northcutt, Jiang & Chuang, 2021). Random trees over features of shape give
them in seconds. The model disagrees with the label both of a hard image and of a mislabelled one; what tells them apart is
how sure it may be. So the model's temperature T and the share e of labels that were exchanged at random (Angluin & Laird
1988) are fitted together: the label y of an image has the probability (1 - e) s_y + e (1 - s_y) / (K - 1), with s the softmax
of the scores over T. If e does not make all labels clearly more likely than e = 0, none is suspect; else an image is
suspect if, by Bayes' rule, its label is more likely exchanged than not.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import StratifiedGroupKFold

from limiar.edge_app.inference.softmax import softmax

SUSPECT = 0.5  # probability that the label is wrong
# Nats that all labels together must gain by e > 0. Clean sets gained 0.0 to 0.5, sets with 2 % exchanged 2.8 to 10.
EVIDENCE = 3.0
FOLDS = 5
LEAST = 20  # images of a class, each in its own fold's training part; fewer teach a model nothing
_TREES = 300
_FLOOR = 1e-4  # of a probability: no tree voted for it
_TEMPERATURES = np.geomspace(0.1, 4.0, 40)  # a mean over trees is timid: below 1
_EXCHANGED = (0.0, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3)


@dataclass(frozen=True)
class JudgedLabels:
    """What the trees think of the labels."""

    accuracy: float  # out of fold, against the given labels
    exchanged: float  # share of the labels that are estimated to be wrong; 0 without evidence
    suspects: tuple[tuple[int, str, float], ...]  # row, the other label, probability that the given one is wrong; surest first


def suspects(
    features: NDArray[np.float32], labels: Sequence[str], units: NDArray[np.int64], seed: int, tick: Callable[[int, int], None]
) -> JudgedLabels | None:
    """Judges each label by trees that have not seen its image. None if the classes are too small.

    features: [N, F], with the label of each row; rows of one unit (group, equal or near images) share a fold.
    tick: (folds done, in all).
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
        trees = ExtraTreesClassifier(_TREES, min_samples_leaf=2, n_jobs=-1, random_state=seed)
        trees.fit(features[training], truth[training])
        given[np.ix_(held, trees.classes_)] = trees.predict_proba(features[held])
        tick(number, FOLDS)
    scores = np.log(given.clip(_FLOOR))
    exchanged, wrong = _wrong(scores, truth)
    others = scores.copy()
    others[np.arange(len(truth)), truth] = -np.inf
    rows = [int(row) for row in np.argsort(-wrong, kind="stable") if wrong[row] > SUSPECT]
    found = tuple((row, names[int(others[row].argmax())], float(wrong[row])) for row in rows)
    return JudgedLabels(float((scores.argmax(axis=1) == truth).mean()), exchanged, found)


def _wrong(scores: NDArray[np.float64], truth: NDArray[np.int64]) -> tuple[float, NDArray[np.float64]]:
    """(e, probability of each label to be wrong) from the scores [N, K], by maximum likelihood over a grid of T and e."""
    others = scores.shape[1] - 1
    best = plain = -np.inf
    for temperature in _TEMPERATURES:
        own = softmax(scores / temperature)[np.arange(len(truth)), truth]
        for share in _EXCHANGED:
            by_chance = share * (1 - own) / others
            likely = ((1 - share) * own + by_chance).clip(1e-12)
            value = float(np.log(likely).sum())
            if not share:
                plain = max(plain, value)
            if value > best:
                best, exchanged, wrong = value, share, by_chance / likely
    if best - plain < EVIDENCE:
        return 0.0, np.zeros(len(truth))
    return exchanged, wrong
