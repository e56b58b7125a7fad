"""The curves of a report: figures calculated by hand, and what is drawn."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from limiar.train.record.curves import (
    draw_reliability,
    draw_risk_coverage,
    draw_roc,
    macro_roc,
    reliability,
    risk_coverage,
    roc,
)
from limiar.train.record.metrics import auc, ece

TRUTH = np.array([0, 0, 1, 1, 1])
ANSWERS = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3], [0.01, 0.99]])


def many(classes: int, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of a classifier that is often right."""
    rng = np.random.default_rng(7)
    labels = rng.permutation(np.arange(count) % classes)
    powers = np.exp(rng.normal(0, 1, (count, classes)) + 2.0 * np.eye(classes)[labels])
    return labels, powers / powers.sum(axis=1, keepdims=True)


def test_roc_steps_up_at_a_positive_and_right_at_a_negative():
    false, true = roc(TRUTH == 1, ANSWERS[:, 1])
    assert false.tolist() == [0, 0, 0.5, 0.5, 0.5, 1]
    assert true.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 1, 1])


def test_equal_scores_are_one_step_of_the_roc():
    false, true = roc(np.array([True, False, True, False]), np.array([0.8, 0.8, 0.8, 0.1]))
    assert (false.tolist(), true.tolist()) == ([0, 0.5, 1], [0, 1, 1])


def test_the_area_below_the_roc_is_the_auc():
    labels, probabilities = many(2)
    assert np.trapezoid(*roc(labels == 1, probabilities[:, 1])[::-1]) == pytest.approx(auc(labels == 1, probabilities[:, 1]))


def test_the_macro_roc_rises_from_left_to_right():
    false, true = macro_roc(*many(5))
    assert (false[0], false[-1], true[-1]) == (0, 1, 1)
    assert (np.diff(true) >= 0).all()
    assert 0.5 < np.trapezoid(true, false) < 1


def test_reliability_bins_hold_every_image_and_add_up_to_the_ece():
    labels, probabilities = many(4)
    bins = reliability(labels, probabilities)
    assert sum(one.images for one in bins) == len(labels)
    gap = sum(abs(one.accuracy - one.confidence) * one.images for one in bins) / len(labels)
    assert gap == pytest.approx(ece(labels, probabilities))
    assert all(one.low <= one.accuracy <= one.high for one in bins)


def test_risk_is_the_share_of_wrong_labels_among_the_most_confident():
    coverage, risk = risk_coverage(TRUTH, ANSWERS)
    assert coverage.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])  # .99 right, .9 right, .8 wrong, .7 wrong, .6 right
    assert risk.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 2, 2 / 5])


@pytest.mark.parametrize("classes", [2, 3, 1000])
def test_each_curve_is_a_picture_with_a_description_and_both_models(classes):
    labels, probabilities = many(classes, 2000)
    answers = {"Keras": probabilities, "a<b": np.roll(probabilities, 1, axis=0) * 0.1 + probabilities * 0.9}
    for svg in (
        draw_roc(labels, answers, 1 if classes == 2 else None),
        draw_reliability(labels, answers),
        draw_risk_coverage(labels, answers),
    ):
        picture = ElementTree.fromstring(svg)  # well formed: names are escaped
        assert "Keras: " in picture.attrib["aria-label"]
        assert "a<b: " in picture.attrib["aria-label"]
        assert "nan" not in svg
        width, height = (float(side) for side in picture.attrib["viewBox"].split()[2:])
        for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", svg):
            assert 0 <= float(x) <= width
            assert 0 <= float(y) <= height


def test_a_model_that_is_always_right_and_certain_is_drawn_too():
    labels = np.array([0, 1, 1])
    certain = {"Keras": np.eye(2)[labels]}
    assert "AUC 1.000" in draw_roc(labels, certain, 1)
    assert "ECE 0.000" in draw_reliability(labels, certain)
    assert "0.000 wrong of all" in draw_risk_coverage(labels, certain)
