"""Figures and their intervals against published worked examples."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.metrics import (
    Z95,
    auc,
    auc_interval,
    binary_metrics,
    class_metrics,
    decided_metrics,
    proportion_interval,
)

# Hanley & McNeil, Radiology 143 (1982) 29-36, Table I: 58 normal and 51 abnormal CT images, rated 1 to 5.
NORMAL, ABNORMAL = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)


def ratings() -> tuple[np.ndarray, np.ndarray]:
    scores = np.concatenate([np.repeat(np.arange(1, 6), NORMAL), np.repeat(np.arange(1, 6), ABNORMAL)])
    return np.repeat([False, True], [sum(NORMAL), sum(ABNORMAL)]), scores


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998) 857-872, Table I, method 3 (Wilson without continuity correction).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_proportion_interval_is_that_of_newcombes_table(k, n, low, high):
    assert proportion_interval(k, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_proportion_interval_of_all_ends_at_one_and_of_none_at_zero():
    assert proportion_interval(20, 20)[1] == 1.0
    assert proportion_interval(0, 20)[0] == 0.0


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_a_proportion_that_is_none_is_refused(k, n):
    with pytest.raises(ValueError, match="no proportion"):
        proportion_interval(k, n)


def test_auc_of_hanley_and_mcneils_ratings():
    assert auc(*ratings()) == pytest.approx(0.8932, abs=5e-5)


def test_delong_standard_error_of_hanley_and_mcneils_ratings():
    # Stata's roctab gives 0.0307 for these ratings (Base Reference Manual, roctab, example 1).
    metric = auc_interval(*ratings())
    width = math.log(metric.high / (1 - metric.high)) - math.log(metric.low / (1 - metric.low))
    assert width / (2 * Z95) * metric.value * (1 - metric.value) == pytest.approx(0.0307, abs=5e-5)
    assert metric.n == 109


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40))
def test_auc_is_the_share_of_pairs_in_the_right_order(pairs):
    positives = [score for label, score in pairs if label]
    negatives = [score for label, score in pairs if not label]
    labels, scores = [label for label, _ in pairs], [score for _, score in pairs]
    if not positives or not negatives:
        with pytest.raises(ValueError, match="both classes"):
            auc(labels, scores)
        return
    won = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    assert auc(labels, scores) == pytest.approx(won / len(positives) / len(negatives))
    metric = auc_interval(labels, scores)
    assert 0 <= metric.low <= metric.value <= metric.high <= 1


def test_perfect_separation_still_has_an_interval():
    metric = auc_interval([False] * 30 + [True] * 20, range(50))
    assert (metric.value, metric.high) == (1.0, 1.0)
    assert metric.low == pytest.approx(proportion_interval(20, 20)[0])


def test_a_nan_score_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        auc([True, False], [0.5, math.nan])


ANSWERS = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3], [0.01, 0.99]])
TRUTH = [0, 0, 1, 1, 1]


def test_sensitivity_is_the_recall_of_the_positive_class():
    by_second, by_first = binary_metrics(TRUTH, ANSWERS, positive=1), binary_metrics(TRUTH, ANSWERS, positive=0)
    assert (by_second["sensitivity"].value, by_second["sensitivity"].n) == (pytest.approx(2 / 3), 3)
    assert (by_second["specificity"].value, by_second["specificity"].n) == (0.5, 2)
    assert by_second["accuracy"].value == pytest.approx(0.6)
    assert by_first["sensitivity"] == by_second["specificity"]
    assert by_first["auc"].value == pytest.approx(by_second["auc"].value)


def test_referred_images_count_in_accuracy_and_not_among_the_decided():
    measured = decided_metrics(TRUTH, ANSWERS, refer_below=0.75)
    assert measured["refer_rate"].value == pytest.approx(2 / 5)
    assert (measured["accuracy_decided"].value, measured["accuracy_decided"].n) == (pytest.approx(2 / 3), 3)
    assert set(decided_metrics(TRUTH, ANSWERS, refer_below=1.0)) == {"refer_rate"}


def test_more_than_two_classes_have_a_recall_each():
    answers = np.eye(3)[[0, 1, 2, 2]]
    measured = class_metrics([0, 1, 1, 2], answers, ("cat", "dog", "fox"), None)
    assert {name: metric.value for name, metric in measured.items()} == {
        "accuracy": 0.75,
        "recall_cat": 1.0,
        "recall_dog": 0.5,
        "recall_fox": 1.0,
    }
