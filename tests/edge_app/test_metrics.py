"""Figures and their intervals against published worked examples."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limiar.train.record.metrics import (
    Z95,
    auc,
    auc_difference,
    auc_interval,
    binary_metrics,
    brier,
    class_metrics,
    decided_metrics,
    decision_metrics,
    ece,
    ece_interval,
    images_for_margin,
    nll,
    proportion_interval,
    smallest_margin,
)

# Hanley & McNeil, Radiology 143 (1982) 29-36, Table I: 58 normal and 51 abnormal CT images, rated 1 to 5.
NORMAL, ABNORMAL = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)

# Albumin, total protein, K-G score, benefit from surgery: the 43 complete cases of DeLong, DeLong & Clarke-Pearson, Biometrics
# 44 (1988) 837-845, as printed in SAS/STAT User's Guide, LOGISTIC, "Comparing Receiver Operating Characteristic Curves".
OVARIAN_CANCER = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1  3.8 5.7 5 1
3.7 6.7 6 1   3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0
4.0 6.6 6 0   3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1
4.3 6.5 4 1   3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1
2.9 5.7 9 0   2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
"""


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
    with pytest.raises(ValueError, match="not a proportion"):
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


@pytest.mark.parametrize(
    ("column", "difference", "low", "high"),
    # That example's "ROC Contrast Estimation and Testing Results by Row": albumin and total protein against the K-G score.
    [(0, 0.0108, -0.1761, 0.1976), (1, -0.0780, -0.2830, 0.1271)],
)
def test_paired_auc_difference_is_that_of_delongs_ovarian_cancer_patients(column, difference, low, high):
    cases = np.array(OVARIAN_CANCER.split(), float).reshape(-1, 4)
    metric = auc_difference(cases[:, 3], cases[:, column], 10 - cases[:, 2])
    assert (metric.value, metric.low, metric.high) == tuple(pytest.approx(x, abs=5e-5) for x in (difference, low, high))
    assert metric.n == 43


def test_a_score_does_not_differ_from_itself_and_two_swapped_change_the_sign():
    labels, scores = ratings()
    other = scores + np.tile([0, 1], 55)[: len(scores)]
    assert auc_difference(labels, scores, scores).value == auc_difference(labels, scores, scores).high == 0.0
    there, back = auc_difference(labels, scores, other), auc_difference(labels, other, scores)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert there.low < there.value < there.high


def test_nll_is_the_mean_log_of_what_the_truth_was_given():
    assert nll(TRUTH, ANSWERS) == pytest.approx(-math.log(0.9 * 0.2 * 0.6 * 0.3 * 0.99) / 5)
    assert math.isfinite(nll([1], [[1.0, 0.0]]))


def test_brier_sums_the_squares_over_the_labels():
    assert brier(TRUTH, ANSWERS) == pytest.approx(2 * (0.1**2 + 0.8**2 + 0.4**2 + 0.7**2 + 0.01**2) / 5)
    assert brier([0], [[0.5, 0.25, 0.25]]) == pytest.approx(0.25 + 2 * 0.0625)
    assert (brier([1], [[0.0, 1.0]]), brier([0], [[0.0, 1.0]])) == (0.0, 2.0)


def test_ece_weighs_each_bins_gap_by_its_images():
    # Confidences .9 right, .8 wrong, .6 right, .7 wrong, .99 right; of 15 bins each has its own.
    assert ece(TRUTH, ANSWERS) == pytest.approx((0.1 + 0.8 + 0.4 + 0.7 + 0.01) / 5)
    # With 2 bins all are in the upper one: |3/5 - mean confidence|.
    assert ece(TRUTH, ANSWERS, bins=2) == pytest.approx(abs(3 / 5 - (0.9 + 0.8 + 0.6 + 0.7 + 0.99) / 5))


def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_lower():
    # With 2 bins 0.5 (right) is in the lower and 1.0 (wrong) in the upper: gaps 0.5 and 1.0.
    assert ece([0, 1], [[0.5, 0.5], [1.0, 0.0]], bins=2) == pytest.approx((0.5 + 1.0) / 2)


def answered_with(overconfidence, count, rng):
    """Labels drawn from probabilities, and these with the logits multiplied: labels [N], probabilities [N, 2]."""
    logits = rng.normal(0, 2.5, count)
    labels = (rng.random(count) < 1 / (1 + np.exp(-logits))).astype(int)
    positive = 1 / (1 + np.exp(-logits * overconfidence))
    return labels, np.stack([1 - positive, positive], axis=1)


@pytest.mark.parametrize("overconfidence", [1.0, 1.5, 3.0])
def test_the_interval_of_the_calibration_error_covers_what_an_endless_set_would_show(overconfidence):
    rng = np.random.default_rng(1)
    true = ece(*answered_with(overconfidence, 500_000, rng)) if overconfidence > 1 else 0.0
    found = [ece_interval(*answered_with(overconfidence, 200, rng)) for _ in range(100)]
    # 95 % is what it aims at; 0.85 to 0.99 was met at 100 to 2,000 images, see ece_interval for why it is hard.
    assert sum(metric.low <= true <= metric.high for metric in found) >= 85
    assert np.mean([metric.value for metric in found]) > true + 0.005  # the plug-in value is too high


def test_the_interval_of_the_calibration_error_shrinks_with_more_images_and_repeats():
    rng = np.random.default_rng(2)
    few, many = (answered_with(2.0, count, rng) for count in (100, 4000))
    assert ece_interval(*few) == ece_interval(*few)
    assert ece_interval(*few, seed=1) != ece_interval(*few)
    widths = [metric.high - metric.low for metric in (ece_interval(*few), ece_interval(*many))]
    assert widths[1] < widths[0] / 3
    assert ece_interval(*many).low > 0.03  # clearly overconfident


def test_the_interval_of_the_calibration_error_of_a_certain_and_right_classifier_is_zero():
    metric = ece_interval([0, 1, 1], [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert (metric.value, metric.low, metric.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("n", "points"), [(26, 10.9), (58, 5.03), (59, 4.95), (300, 0.99)])
def test_smallest_margin_is_the_rule_of_three(n, points):
    assert 100 * smallest_margin(n) == pytest.approx(points, abs=0.05 if points > 6 else 0.01)


@pytest.mark.parametrize("margin", [0.001, 0.01, 0.05, 0.1, 0.3, 0.95])
@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.2])
def test_images_for_margin_are_the_first_that_are_enough(margin, alpha):
    n = images_for_margin(margin, alpha)
    assert smallest_margin(n, alpha) < margin
    assert n == 1 or smallest_margin(n - 1, alpha) >= margin


@pytest.mark.parametrize(("n", "alpha"), [(0, 0.05), (10, 0.0), (10, 0.5)])
def test_a_margin_of_no_images_is_refused(n, alpha):
    with pytest.raises(ValueError, match="not a number of images"):
        smallest_margin(n, alpha)


def test_what_a_device_decided_counts_whatever_it_referred_for_and_a_refusal_is_wrong() -> None:
    found = decision_metrics(["pos", "pos", "neg", "neg", "neg"], ["pos", "refer", "pos", "neg", "refused"])
    assert (found["refer_rate"].value, found["refer_rate"].n) == (0.2, 5)
    assert (found["accuracy_decided"].value, found["accuracy_decided"].n) == (0.5, 4)
    assert set(decision_metrics(["pos"], ["refer"])) == {"refer_rate"}
