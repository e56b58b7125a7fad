"""Softmax, which every answer passes through, is the textbook's formula to the last bit."""

import numpy as np
import pytest

from limiar.edge_app.inference.softmax import softmax


@pytest.mark.parametrize("shape", [(2,), (3,), (10,), (129,), (1000,), (50, 2), (50, 7)], ids=str)
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0, 1e30])
def test_softmax_is_the_plain_formula_bit_for_bit(shape: tuple[int, ...], scale: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        logits = (rng.standard_normal(shape) * scale).astype(np.float32)
        powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
        assert softmax(logits).tobytes() == (powers / powers.sum(axis=-1, keepdims=True)).tobytes()
