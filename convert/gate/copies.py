"""The proof for a copy: a file whose logits are Keras's except for rounding. Pairs would need 59 images of every class.

Let no logit be further than d from Keras's. An image can then get another label only if Keras's own decision depends on less
than 2 d (the distance between its two largest logits, or of its score from the threshold), so a class loses at most the
share of its images within this reach. ALLOWANCE widens the reach for unseen images.

A share within a reach of rounding errors is too small to be counted. Those within WIDER times the reach are counted: k of n
give the upper bound of Clopper and Pearson (Biometrika 26 (1934) 404-413), one-sided at alpha, and a WIDERth of that bounds the
share within the reach, if images are no denser right at the boundary than around it. That is the assumption; a
trained classifier, whose images keep away from the boundary, meets it. docs/gate.md, "Copies".
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from limiar.edge_app.bundle.manifest import Decision
from limiar.train.record.operating_points import logit

ALLOWANCE = 2.0  # times the largest difference that was seen
WIDER = 10.0  # times the reach: where images are counted


def distances(logits: NDArray[np.float32], decision: Decision, names: tuple[str, ...]) -> NDArray[np.float64]:
    """float [N]: how far apart two logits of an image must move for another label. logits: [N, K] of Keras."""
    values = logits.astype(np.float64)
    if decision.threshold is None:
        second, first = np.partition(values, -2, axis=1)[:, -2:].T
        return np.asarray(first - second)
    chosen = names.index(decision.threshold.label)
    score = values[:, chosen] - values[:, 1 - chosen]
    return np.asarray(np.abs(score - logit(decision.threshold.at_least)))


def reach(largest_difference: float, keras: Decision, file: Decision) -> float:
    """How far from the boundary a label may change. largest_difference: of a logit from Keras's."""
    moved = 0.0
    if keras.threshold is not None and file.threshold is not None:
        moved = abs(logit(keras.threshold.at_least) - logit(file.threshold.at_least))
    return ALLOWANCE * 2 * largest_difference + moved


def copy_bound(distance: NDArray[np.float64], reach: float, alpha: float) -> float:
    """Upper bound of the loss of a class, 0..1, one-sided at alpha. distance: [n], of the class's images."""
    n, near = len(distance), int((distance <= WIDER * reach).sum())
    return float(beta.ppf(1 - alpha, near + 1, n - near)) / WIDER if near < n else 1.0
