"""Temperature scaling: probabilities that mean what they say (Guo et al., On Calibration of Modern Neural Networks, 2017)."""

import math

import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.inference.softmax import softmax

# A validation part without an error would ask for a temperature of 0, which means certainty: a few images do not prove that.
TEMPERATURES = (0.5, 10.0)
_STEPS = 60  # halvings: to the last bit of a float64


def fit_temperature(logits: NDArray[np.floating], truth: NDArray[np.int64], caution: float = 0.0) -> float:
    """The T within TEMPERATURES with the lowest sum of -log softmax(logits / T)[truth], plus caution * log(T)^2.

    logits: [N, K]; truth: int [N]; caution: nats, as if log T were normal around 0 with the variance 1 / (2 caution): a few
    images that happen to be right would ask for certainty; a thousand images outweigh the caution. The sum is convex in 1/T as
    long as that is below e. Bisection finds the zero of its slope, sum(sum_k p_k z_k - z_truth) + 2 caution log(1/T) T.
    """
    scores = np.asarray(logits, dtype=np.float64)
    own = scores[np.arange(len(truth)), truth]
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    for _ in range(_STEPS):
        middle = (low + high) / 2
        slope = float(((softmax(middle * scores) * scores).sum(axis=1) - own).mean())
        slope += 2 * caution * math.log(middle) / (middle * len(truth))
        low, high = (middle, high) if slope < 0 else (low, middle)
    return 2 / (low + high)
