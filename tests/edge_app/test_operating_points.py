"""Operating points on scores whose best cuts can be counted by hand."""

import numpy as np
import pytest

from limiar.train.record.operating_points import Scores, labels_of, operating_points

NAMES = ("neg", "pos")


def scores(positives, negatives, step=None):
    """Two labels; the probability of pos for images of either."""
    of_positive = np.array([*positives, *negatives])
    truth = np.array([1] * len(positives) + [0] * len(negatives))
    return Scores(np.stack([1 - of_positive, of_positive], axis=1), truth, 1, step)


def drawn(count, seed):
    """Overlapping scores."""
    rng = np.random.default_rng(seed)
    return scores(1 / (1 + np.exp(-rng.normal(1, 1.5, count))), 1 / (1 + np.exp(-rng.normal(-1, 1.5, count))))


def by_name(val, test, names=NAMES):
    return {point.name: point for point in operating_points(val, test, names)}


def every_cut(split):
    """(threshold, sensitivity, specificity) of every cut that tells any two images apart."""
    of_positive, is_positive = split.probabilities[:, 1], split.truth == 1
    for at_least in np.unique(of_positive)[1:]:
        called = of_positive >= at_least
        yield at_least, called[is_positive].mean(), (~called)[~is_positive].mean()


@pytest.mark.parametrize("seed", range(5))
def test_no_other_cut_of_validation_is_better_at_what_a_point_aims_at(seed):
    val = drawn(60, seed)
    points, cuts = by_name(val, drawn(60, seed + 100)), list(every_cut(val))
    assert set(points) == {"argmax", "sensitivity-0.95", "sensitivity-0.99", "specificity-0.95", "youden"}
    for target in (0.95, 0.99):
        found = points[f"sensitivity-{target:g}"].val
        assert found["sensitivity"].value >= target
        best = max(specificity for _, sensitivity, specificity in cuts if sensitivity >= target)
        assert found["specificity"].value == pytest.approx(best, abs=1e-6)
    found = points["specificity-0.95"].val
    assert found["specificity"].value >= 0.95
    best = max(sensitivity for _, sensitivity, specificity in cuts if specificity >= 0.95)
    assert found["sensitivity"].value == pytest.approx(best, abs=1e-6)
    best = max(sensitivity + specificity for _, sensitivity, specificity in cuts)
    found = points["youden"].val
    assert found["sensitivity"].value + found["specificity"].value == pytest.approx(best, abs=1e-5)


def test_test_images_choose_nothing_and_are_measured_at_validation_s_cut():
    val, test = drawn(60, 1), drawn(60, 2)
    points, others = by_name(val, test), by_name(val, drawn(60, 3))
    for name, point in points.items():
        assert (point.decision, point.val) == (others[name].decision, others[name].val)
        answered = labels_of(point.decision, test.probabilities, NAMES)
        assert point.test["sensitivity"].value == pytest.approx((answered[test.truth == 1] == 1).mean(), abs=1e-6)
        assert point.test["specificity"].value == pytest.approx((answered[test.truth == 0] == 0).mean(), abs=1e-6)
        assert point.test["specificity"].n == 60


def test_a_threshold_lies_between_scores_and_does_not_move_with_their_last_bits():
    val = drawn(60, 4)
    moved = scores(val.probabilities[:60, 1] * (1 + 1e-9), val.probabilities[60:, 1] * (1 - 1e-9))
    before, after = by_name(val, val), by_name(moved, moved)
    for name, point in before.items():
        assert after[name].decision == point.decision
        if point.decision.threshold:
            assert np.abs(val.probabilities[:, 1] - point.decision.threshold.at_least).min() > 1e-6


def test_a_quantized_file_s_threshold_lies_between_two_scores_that_it_can_give():
    step = 0.25
    can = 1 / (1 + np.exp(-step * np.arange(-20, 21)))
    val = scores(can[[18, 26, 30, 34]], can[[6, 10, 14, 24]], step)
    at_least = by_name(val, val)["sensitivity-0.95"].decision.threshold.at_least
    assert can[17] < at_least < can[18]


def test_an_aim_that_only_calling_every_image_the_same_would_meet_is_left_out():
    val = scores([0.1, 0.6], [0.2, 0.9])  # the highest score is a negative's, the lowest a positive's
    assert set(by_name(val, val)) == {"argmax", "youden"}
    one = scores([0.5, 0.5], [0.5, 0.5])
    assert set(by_name(one, one)) == {"argmax"}


def test_more_than_two_labels_are_referred_in_bands():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (300, 3))
    truth = np.where(rng.random(300) < 0.7, logits.argmax(axis=1), rng.integers(3, size=300))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    split = Scores(probabilities, truth, None)
    points = operating_points(split, split, ("a", "b", "c"))
    assert points[0].name == "argmax"
    assert points[0].val["refer_rate"].value == 0.0
    rates = [point.val["refer_rate"].value for point in points]
    assert rates == sorted(rates)
    band = next(point for point in points if point.name == "refer-below-0.9")
    sure = probabilities.max(axis=1) >= 0.9
    assert band.test["refer_rate"].value == pytest.approx(1 - sure.mean(), abs=1e-6)
    right = probabilities.argmax(axis=1) == truth
    assert band.test["accuracy_decided"].value == pytest.approx(right[sure].mean(), abs=1e-6)
