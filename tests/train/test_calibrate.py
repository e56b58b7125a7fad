"""The temperature, found by halving, against what it must be."""

import numpy as np
import pytest

from edge_app.metrics import ece
from train.calibrate import TEMPERATURES, fit_temperature, nll, probabilities


@pytest.fixture
def answers():
    """Logits whose softmax is true by construction: labels are drawn from it."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 3))
    truth = np.array([rng.choice(3, p=row) for row in probabilities(logits)])
    return logits, truth


@pytest.mark.parametrize("factor", [0.8, 1.0, 3.0])
def test_a_known_overconfidence_is_found(answers, factor):
    logits, truth = answers
    assert fit_temperature(logits * factor, truth) == pytest.approx(factor, rel=0.03)  # 20,000 draws


def test_no_neighbouring_temperature_is_better(answers):
    logits, truth = answers
    best = fit_temperature(logits * 2, truth)
    there = nll(logits * 2 / best, truth)
    assert there < min(nll(logits * 2 / (best * factor), truth) for factor in (0.97, 1.03))


def test_calibration_lowers_the_calibration_error(answers):
    logits, truth = answers
    hot = logits * 3
    before, after = (ece(truth, probabilities(hot / t)) for t in (1.0, fit_temperature(hot, truth)))
    assert after < 0.02 < before


def test_a_validation_part_without_an_error_gives_no_certainty():
    logits = np.array([[5.0, -5.0], [-5.0, 5.0]] * 10)
    assert fit_temperature(logits, np.array([0, 1] * 10)) == pytest.approx(TEMPERATURES[0])


def test_probabilities_are_those_of_the_device():
    from edge_app.classifier import softmax

    logits = np.random.default_rng(1).normal(0, 50, (50, 4)).astype(np.float32)
    assert np.array_equal(probabilities(logits), [softmax(row) for row in logits])
