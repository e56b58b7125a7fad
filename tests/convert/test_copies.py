"""A copy is proven with few images, and nothing else is."""

import numpy as np
import pytest

from limiar.convert.gate.comparison import Comparison, Terms, answered, compare
from limiar.convert.gate.copies import ALLOWANCE, WIDER, copy_bound, distances, reach
from limiar.convert.run.dataset import Split
from limiar.edge_app.bundle.manifest import Decision, Threshold
from limiar.train.record.operating_points import expit

NAMES = ("cat", "dog", "owl")
TERMS = Terms(NAMES, None, margin=0.05, alpha=0.05, copy_difference=0.01)
PLAIN = Decision(refer_below=0.0)


def keras_logits(each: int, gap: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, float32 [3 * each, 3], all right by about `gap`; and the labels, int64 [3 * each]."""
    truth = np.repeat(np.arange(3), each)
    rng = np.random.default_rng(0)
    return (rng.uniform(0.9, 1.1, (len(truth), 1)) * gap * np.eye(3)[truth]).astype(np.float32), truth


def compared(file: np.ndarray, keras: np.ndarray, truth: np.ndarray, terms: Terms = TERMS) -> Comparison:
    split = Split(np.zeros((len(truth), 1, 1, 3), np.uint8), truth, ("",) * len(truth), ("",) * len(truth))
    return compare(answered(file, PLAIN, terms.names), answered(keras, PLAIN, terms.names), split, terms)


def said(result: Comparison) -> set[tuple[str, str]]:
    return {(loss.verdict, loss.proof) for loss in result.losses}


@pytest.mark.parametrize("each", [5, 15, 26, 58])
def test_a_copy_is_proven_with_fewer_images_than_pairs_need(each: int) -> None:
    keras, truth = keras_logits(each)
    result = compared(keras + np.float32(1e-5), keras, truth)
    assert said(result) == {("PASS", "copy")}
    assert all(0 < loss.high < 0.05 and loss.low == -loss.high and loss.more_images is None for loss in result.losses)


def test_where_pairs_are_enough_they_decide() -> None:
    keras, truth = keras_logits(60)
    assert said(compared(keras + np.float32(1e-5), keras, truth)) == {("PASS", "pairs")}


def test_four_images_are_too_few_even_for_a_copy() -> None:
    keras, truth = keras_logits(4)
    assert said(compared(keras, keras, truth)) == {("INCONCLUSIVE", "pairs")}


def test_logits_further_off_than_a_copy_s_are_judged_by_pairs_alone() -> None:
    keras, truth = keras_logits(26)
    assert said(compared(keras + np.float32(0.02), keras, truth)) == {("INCONCLUSIVE", "pairs")}
    assert said(compared(keras, keras, truth, Terms(NAMES, None, 0.05, 0.05))) == {("INCONCLUSIVE", "pairs")}


def test_one_image_with_another_label_is_no_copy() -> None:
    keras, truth = keras_logits(26)
    keras[0] = [0.001, 0.0, 0.0]
    file = keras.copy()
    file[0] = [0.0, 0.001, 0.0]
    assert ("PASS", "copy") not in said(compared(file, keras, truth))


def test_images_close_to_the_boundary_are_no_proof() -> None:
    keras, truth = keras_logits(26, gap=0.1)  # a network that nobody trained: every image lies within ten times the reach
    assert said(compared(keras + np.float32(0.005), keras, truth)) == {("INCONCLUSIVE", "pairs")}


def test_the_distance_is_that_of_the_two_largest_logits_or_of_the_score_from_its_threshold() -> None:
    assert distances(np.array([[1, 4, 2.5]], np.float32), PLAIN, NAMES) == pytest.approx([1.5])
    rule = Decision(refer_below=0.0, threshold=Threshold("pos", expit(-2.0)))
    two = np.array([[0, 3], [1, 0]], np.float32)
    assert distances(two, rule, ("neg", "pos")) == pytest.approx([5, 1])
    other = Decision(refer_below=0.0, threshold=Threshold("pos", expit(-2.3)))
    assert reach(0.001, rule, other) == pytest.approx(ALLOWANCE * 0.002 + 0.3)


def test_the_bound_is_a_tenth_of_the_upper_bound_of_the_share_nearby() -> None:
    far, near = np.full(59, 9.0), np.full(1, 0.5)
    assert copy_bound(far, 0.1, 0.05) == pytest.approx((1 - 0.05 ** (1 / 59)) / WIDER)
    # Clopper and Pearson, one-sided 95 %, 1 of 60: 0.0767
    assert copy_bound(np.concatenate([far, near]), 0.1, 0.05) == pytest.approx(0.0767 / WIDER, abs=1e-4)
    assert copy_bound(near, 0.1, 0.05) == 1.0
