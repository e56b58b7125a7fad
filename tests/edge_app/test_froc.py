"""FROC and CPM on pictures that can be counted by hand."""

import numpy as np
import pytest

from limiar.train.record.froc import RATES, Detection, Mark, Matched, matched
from limiar.train.record.froc import at_threshold as at_threshold_by_group
from limiar.train.record.froc import froc as froc_by_group


def froc(pictures):
    """Each picture is of another patient."""
    return froc_by_group(pictures, np.arange(len(pictures)))


def at_threshold(pictures):
    return at_threshold_by_group(pictures, np.arange(len(pictures)))


def test_the_best_detection_on_a_mark_finds_it_and_the_others_on_it_are_ignored():
    marks = [Mark(10, 10, 5), Mark(50, 50, 5)]
    detections = [Detection(11, 10, 0.7), Detection(9, 12, 0.9), Detection(30, 30, 0.8)]
    assert matched(marks, detections) == Matched((0.9, None), (0.8,))


def test_a_detection_is_on_a_mark_up_to_its_radius_and_no_further():
    assert matched([Mark(0, 0, 5)], [Detection(3, 4, 0.9)]).found == (0.9,)
    assert matched([Mark(0, 0, 5)], [Detection(3, 4.001, 0.9)]) == Matched((None,), (0.9,))


def test_a_detection_within_two_marks_finds_both():
    assert matched([Mark(0, 0, 5), Mark(6, 0, 5)], [Detection(3, 0, 0.6)]) == Matched((0.6, 0.6), ())


def test_a_mark_that_does_not_count_is_neither_found_nor_is_a_detection_on_it_false():
    marks = [Mark(10, 10, 5), Mark(50, 50, 5, counts=False)]
    assert matched(marks, [Detection(50, 51, 0.8)]) == Matched((None,), ())
    assert matched(marks[:1], [Detection(50, 51, 0.8)]) == Matched((None,), (0.8,))  # the control


def test_the_curve_has_a_point_for_each_score():
    found = froc([Matched((0.9, 0.5), (0.7,)), Matched((None, 0.7), ()), Matched((), (0.2, 0.1)), Matched((), ())])
    # 0.9: one of four marks; 0.7: two, and a false positive among four pictures; then three; then false positives alone.
    assert found.curve == ((0, 0), (0, 0.25), (0.25, 0.5), (0.25, 0.75), (0.5, 0.75), (0.75, 0.75))


def test_cpm_is_the_mean_sensitivity_at_seven_rates_the_last_of_them_as_far_as_the_curve_goes():
    found = froc([Matched((0.9, 0.5), (0.7,)), Matched((None, 0.7), ()), Matched((), (0.2, 0.1)), Matched((), ())])
    at = [metric.value for metric in found.sensitivity]
    assert at == [0.375, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75]  # at 1/8 half way between 0.25 and 0.5
    assert found.cpm.value == pytest.approx(np.mean(at))


def test_a_perfect_detector_has_a_cpm_of_1_with_an_interval_that_says_how_few_marks_there_were():
    found = froc([Matched((0.9,), ())] * 5 + [Matched((), ())] * 5)
    assert found.cpm.value == 1.0
    assert found.cpm.high == 1.0
    assert 0.5 < found.cpm.low < 0.7  # Wilson's for 5 of 5


def test_a_detector_that_finds_nothing_has_a_cpm_of_0():
    found = froc([Matched((None,), (0.5,)), Matched((), ())])
    assert found.cpm.value == 0.0
    assert found.curve == ((0.0, 0.0), (0.5, 0.0))


def test_without_any_detection_there_is_a_curve_of_one_point():
    assert froc([Matched((None, None), ())]).curve == ((0.0, 0.0),)


@pytest.mark.parametrize("measure", [froc, at_threshold])
def test_without_a_mark_there_is_nothing_to_find(measure):
    with pytest.raises(ValueError, match="no mark"):
        measure([Matched((), (0.5,))])


def test_what_a_device_reports_has_one_sensitivity_and_one_rate_of_false_positives():
    pictures = [Matched((0.9, 0.5), (0.7,)), Matched((None, 0.7), ()), Matched((), (0.8, 0.6)), Matched((), ())]
    found = at_threshold(pictures)
    assert (found.sensitivity.value, found.sensitivity.n) == (0.75, 4)
    assert (found.false_positives.value, found.false_positives.n) == (0.75, 4)
    assert found.sensitivity.low < 0.75 < found.sensitivity.high
    assert 0.0 <= found.false_positives.low < 0.75 < found.false_positives.high


def simulated(rng: np.random.Generator, pictures: int, find: float, false: float) -> list[Matched]:
    """A detector whose scores say nothing, so that its curve is known: a line from (0, 0) to (false, find)."""
    return [
        Matched(
            tuple(float(rng.random()) if rng.random() < find else None for _ in range(2)),
            tuple(rng.random(rng.poisson(false)).tolist()),
        )
        for _ in range(pictures)
    ]


def test_intervals_hold_the_true_sensitivity_about_as_often_as_they_say():
    rng = np.random.default_rng(5)
    held = []
    for _ in range(20):
        found = froc(simulated(rng, 80, find=0.8, false=2.0))
        held += [m.low <= 0.8 * min(rate / 2.0, 1) <= m.high for rate, m in zip(RATES, found.sensitivity, strict=True)]
    assert np.mean(held) > 0.88


def test_pictures_of_one_patient_are_drawn_together_which_widens_the_intervals():
    one = simulated(np.random.default_rng(6), 40, find=0.7, false=1.0)
    thrice, patients = [picture for picture in one for _ in range(3)], np.repeat(np.arange(40), 3)
    alone, together = froc(thrice).cpm, froc_by_group(thrice, patients).cpm
    assert alone.value == together.value
    assert together.high - together.low > 1.4 * (alone.high - alone.low)
