"""Decision rules, fitted on validation."""

import math

import numpy as np
import pytest

from limiar.convert.gate.decision_rule import AT_LEAST, NEAR, DecisionRule, fit, fitted, referred
from limiar.convert.gate.gate_file import read_gate
from limiar.edge_app.bundle.manifest import Decision, Threshold
from limiar.edge_app.errors import ConvertError
from limiar.train.record.operating_points import ERROR_DECIDED, Scores, labels_of

NAMES = ("neg", "pos")


def expit(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def scores(positives: list[float], negatives: list[float], step: float | None = None) -> Scores:
    """Two labels; the probability of pos for images of either."""
    of_positive = np.array([*positives, *negatives])
    truth = np.array([1] * len(positives) + [0] * len(negatives))
    return Scores(np.stack([1 - of_positive, of_positive], axis=1), truth, 1, step)


def test_a_confidence_of_a_float_file_is_taken_as_it_stands() -> None:
    assert fit(DecisionRule(confidence=0.95), scores([0.9], [0.1]), NAMES) == Decision(0.95)


@pytest.mark.parametrize("step", [0.02, 0.1, 0.25])
def test_a_confidence_of_a_quantized_file_lies_half_way_between_two_scores_that_it_can_give(step: float) -> None:
    decision = fit(DecisionRule(confidence=0.95), scores([0.9], [0.1], step), NAMES)
    can = [expit(step * k) for k in range(-255, 256)]
    below, above = max(s for s in can if s < 0.95), min(s for s in can if s >= 0.95)
    assert decision.refer_below == pytest.approx((below + above) / 2, abs=1e-8)
    assert [s >= decision.refer_below for s in can] == [s >= 0.95 for s in can]  # it decides as 0.95 does


def test_a_target_sensitivity_is_reached_with_as_few_false_alarms_as_can_be() -> None:
    given = scores([0.9, 0.8, 0.6, 0.3], [0.7, 0.5, 0.2, 0.1])
    decision = fit(DecisionRule(sensitivity=0.75), given, NAMES)
    assert decision == Decision(refer_below=0.0, threshold=Threshold("pos", 0.55))  # between 0.6 and the 0.5 below it
    answers = labels_of(decision, given.probabilities, NAMES)
    assert answers.tolist() == [1, 1, 1, 0, 1, 0, 0, 0]
    assert not referred(decision, given.probabilities, answers).any()


def test_a_refer_rate_is_not_exceeded() -> None:
    given = scores([0.99, 0.9, 0.6, 0.7], [0.02, 0.1, 0.45, 0.2])
    decision = fit(DecisionRule(refer_rate=0.25), given, NAMES)
    answers = labels_of(decision, given.probabilities, NAMES)
    assert referred(decision, given.probabilities, answers).tolist() == [False, False, True, False, False, False, True, False]


def test_a_refer_rate_counts_equal_confidences_together() -> None:
    given = scores([0.6, 0.6, 0.6, 0.9], [0.1])
    assert fit(DecisionRule(refer_rate=0.4), given, NAMES).refer_below == 0.0  # referring one of the three would refer all


def test_a_refer_rate_of_a_quantized_file_lies_half_way_between_two_scores_that_it_can_give() -> None:
    step = 0.05
    given = scores([expit(step * k) for k in range(10, 30, 2)], [], step)  # it could give the odd ones as well
    cut = fit(DecisionRule(refer_rate=0.5), given, NAMES).refer_below
    assert cut == pytest.approx((expit(step * 19) + expit(step * 20)) / 2, abs=1e-8)


def test_a_file_that_is_certain_has_a_threshold_too() -> None:
    """Two logits 37 and more apart: float64 has no probability between theirs and 1."""
    for step in (None, 0.2):
        given = scores([1.0, 1.0], [0.0, 0.0], step)
        decision = fit(DecisionRule(sensitivity=1.0), given, NAMES)
        assert labels_of(decision, given.probabilities, NAMES).tolist() == [1, 1, 0, 0]


def test_a_sensitivity_is_reached_also_where_scores_lie_closer_than_a_threshold_has_digits() -> None:
    given = scores([1 - 1e-10], [1 - 2e-10])
    decision = fit(DecisionRule(sensitivity=1.0), given, NAMES)
    assert labels_of(decision, given.probabilities, NAMES).tolist() == [1, 0]


def test_a_threshold_with_few_scores_near_it_is_refused() -> None:
    coarse = 0.4 / AT_LEAST  # about p (1 - p) 2 NEAR / step scores lie near one half
    assert 0.25 * 2 * NEAR / coarse < AT_LEAST
    with pytest.raises(ConvertError, match="different scores lie within"):
        fit(DecisionRule(sensitivity=1.0), scores([expit(coarse)], [expit(-coarse)], coarse * 2), NAMES)


def test_a_sensitivity_that_is_reached_only_by_calling_everything_positive_is_refused() -> None:
    with pytest.raises(ConvertError, match="calling every validation image pos"):
        fit(DecisionRule(sensitivity=1.0), scores([0.1, 0.9], [0.5, 0.6]), NAMES)


def test_a_target_sensitivity_needs_two_labels() -> None:
    three = Scores(np.eye(3), np.arange(3), None, None)
    with pytest.raises(ConvertError, match="needs two labels"):
        fit(DecisionRule(sensitivity=0.9), three, ("a", "b", "c"))


def test_a_target_error_refers_as_few_images_as_leave_it() -> None:
    given = scores([0.99, 0.9, 0.8, 0.55], [0.02, 0.3, 0.7, 0.6])  # 0.7 and 0.6 are wrong
    decision = fit(DecisionRule(error_decided=0.2), given, NAMES)
    answers = labels_of(decision, given.probabilities, NAMES)
    kept = ~referred(decision, given.probabilities, answers)
    assert kept.tolist() == [True, True, True, False, True, True, True, False]  # one of six is wrong, a seventh would be two
    assert fitted(DecisionRule(error_decided=0.2), decision, given, NAMES) == (
        "fitted on validation: 2 of 8 images are referred, 1 of the 6 others are wrong"
    )


def test_a_target_error_that_is_met_refers_nobody() -> None:
    assert fit(DecisionRule(error_decided=0.25), scores([0.9, 0.8, 0.6], [0.55]), NAMES) == Decision(0.0)


def test_a_target_error_counts_equal_confidences_together() -> None:
    given = scores([0.9, 0.9, 0.8], [0.8])
    assert fit(DecisionRule(error_decided=0.1), given, NAMES).refer_below == pytest.approx(0.85)


def test_a_target_error_of_a_quantized_file_lies_half_way_between_two_scores_that_it_can_give() -> None:
    step = 0.05
    given = scores([expit(step * k) for k in range(40, 60, 2)], [expit(step * 10)], step)
    cut = fit(DecisionRule(error_decided=0.0), given, NAMES).refer_below
    assert expit(step * 39) < cut < expit(step * 40)


def test_a_target_error_that_cannot_be_reached_falls_back_to_the_usual_confidence_and_says_so() -> None:
    given = scores([0.7], [0.99])
    decision = fit(DecisionRule(error_decided=0.02), given, NAMES)
    assert decision == Decision()
    assert "nowhere are only 2 % of them wrong, so it is the usual 0.95" in fitted(
        DecisionRule(error_decided=0.02), decision, given, NAMES
    )


def test_a_target_error_of_many_labels_is_that_of_the_largest_probability() -> None:
    probabilities = np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.5, 0.3, 0.2]])
    given = Scores(probabilities, np.array([0, 1, 2, 1]), None, None)
    assert fit(DecisionRule(error_decided=0.0), given, ("a", "b", "c")).refer_below == pytest.approx(0.55)


def test_the_default_target_is_the_one_that_training_foretells() -> None:
    assert read_gate().decision == DecisionRule(error_decided=ERROR_DECIDED)


@pytest.mark.parametrize("rules", [{}, {"confidence": 0.9, "refer_rate": 0.1}])
def test_a_rule_is_one_of_four(rules: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="one of error_decided, confidence"):
        DecisionRule(**rules)


def test_a_file_that_gives_no_score_near_the_threshold_is_refused_with_what_would_help() -> None:
    small = 0.001  # 255 steps of it are a confidence of 0.56 at most
    with pytest.raises(
        ConvertError, match=r"no score .* within 0.05 of the threshold 0.950.*give \[decision\] .* a refer_rate"
    ):
        fit(DecisionRule(confidence=0.95), scores([0.55], [0.45], small), NAMES)
