"""Logits -> probabilities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """[K] or [N, K] -> float64 of the same shape, each row with sum 1. Shifted by the largest logit, so nothing overflows."""
    # What `max` and `sum` of an array call, without their 1 us of Python.
    powers = np.exp(logits.astype(np.float64) - np.maximum.reduce(logits, axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / np.add.reduce(powers, axis=-1, keepdims=True)
    return probabilities
