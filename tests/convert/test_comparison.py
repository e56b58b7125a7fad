"""A file's answers compared with Keras's."""

import numpy as np
import pytest

from limiar.convert.gate.comparison import SplitAnswers, Terms, answered, clopper_pearson, compare, mcnemar, significant
from limiar.convert.run.dataset import Split
from limiar.edge_app.bundle.manifest import Decision, Threshold

TERMS = Terms(("neg", "pos"), "pos", margin=0.05, alpha=0.05)


def logits(*margins: float) -> np.ndarray:
    """float32 [N, 2]: pos ahead of neg by each margin."""
    return np.array([[0.0, margin] for margin in margins], np.float32)


def split(*labels: int, groups: tuple[str, ...] = ()) -> Split:
    empty = ("",) * len(labels)
    return Split(np.zeros((len(labels), 1, 1, 3), np.uint8), np.array(labels), empty, groups or empty)


def both(file: np.ndarray, keras: np.ndarray, decision: Decision | None = None) -> tuple[SplitAnswers, SplitAnswers]:
    rule = decision or Decision()
    return answered(file, rule, TERMS.names), answered(keras, rule, TERMS.names)


def test_metrics_count_every_image_also_those_that_are_referred() -> None:
    found = logits(9, 1, -9, -1)  # two answers over 95 %
    compared = compare(*both(found, found), split(1, 0, 0, 0), TERMS)
    assert compared.metrics["accuracy"].value == 0.75
    assert compared.metrics["sensitivity"].value == 1.0
    assert compared.metrics["specificity"].value == pytest.approx(2 / 3, abs=1e-6)
    assert compared.metrics["refer_rate"].value == 0.5
    assert compared.metrics["accuracy_decided"].value == 1.0


def test_sensitivity_and_specificity_are_those_of_the_threshold_that_ships() -> None:
    found = logits(-1, -1, -3, -3)
    rule = Decision(refer_below=0.0, threshold=Threshold("pos", 0.2))  # a margin of -1 is 0.27
    compared = compare(*both(found, found, rule), split(1, 0, 1, 0), TERMS)
    assert compared.metrics["sensitivity"].value == 0.5
    assert compared.metrics["specificity"].value == 0.5
    assert compared.metrics["refer_rate"].value == 0.0


def test_a_loss_counts_images_that_keras_had_right_less_those_that_it_had_wrong() -> None:
    keras, file = logits(9, 9, -9, -9, 9), logits(-9, 9, 9, -9, -9)
    compared = compare(*both(file, keras), split(1, 1, 1, 0, 0), TERMS)
    losses = {loss.name: (loss.n, loss.lost, loss.gained) for loss in compared.losses}
    assert losses == {"sensitivity": (3, 1, 1), "specificity": (2, 0, 1)}


def test_a_flip_is_another_label_or_an_image_that_is_referred_now() -> None:
    keras, file = logits(9, 9, -9, 1), logits(-9, 1, -9, 1)
    compared = compare(*both(file, keras), split(1, 1, 0, 0), TERMS)
    assert compared.flips is not None
    assert compared.flips.value == 0.5


def test_agreement_is_with_keras_and_not_with_the_truth() -> None:
    compared = compare(*both(logits(9, 9, -9, 2), logits(9, 9, -9, -1)), split(0, 0, 1, 1), TERMS)
    assert compared.metrics["agreement"].value == 0.75
    assert compared.largest_difference == 3.0


def test_more_than_two_labels_have_a_recall_each() -> None:
    found = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]] * 9
    terms = Terms(("a", "b", "c"), None, margin=0.05, alpha=0.05)
    mine = answered(found, Decision(), terms.names)
    compared = compare(mine, mine, split(0, 1, 2, 2), terms)
    assert compared.metrics["recall_b"].value == 1.0
    assert compared.metrics["recall_c"].value == 0.5
    assert "auc" not in compared.metrics
    assert [loss.name for loss in compared.losses] == ["recall_a", "recall_b", "recall_c"]


def test_the_group_that_lost_most_is_named_without_its_name() -> None:
    keras, file = logits(9, 9, 9, -9), logits(9, -9, -9, -9)
    compared = compare(*both(file, keras), split(1, 1, 1, 0, groups=("a", "b", "b", "a")), TERMS)
    assert compared.worst_group is not None
    assert (compared.worst_group.n, compared.worst_group.loss) == (2, 1.0)
    assert compared.worst_group.group == "3e23e816"  # sha256 of "b"


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    # R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 5 (Clopper-Pearson)
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684), (1, 29, 0.0009, 0.1776)],
)
def test_the_exact_interval_is_the_published_one(k: int, n: int, low: float, high: float) -> None:
    found = clopper_pearson(k, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_mcnemar_s_exact_test_is_the_binomial_one() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(1, 7) == pytest.approx(2 * (1 + 8) / 2**8)


@pytest.mark.parametrize(
    ("value", "given"), [(0.0, 0.0), (1.4e-6, 1e-5), (1.9e-6, 1e-5), (0.02349, 0.023), (0.6612, 0.66), (12.4, 12.0)]
)
def test_a_difference_is_given_without_the_digits_in_which_processors_differ(value: float, given: float) -> None:
    assert significant(value) == given
