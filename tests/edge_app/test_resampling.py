"""Intervals of images that come in groups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limiar.edge_app.bundle.manifest import Metric
from limiar.train.record.metrics import ECE_BINS, auc, brier, ece, log_losses, mean, nll, proportion, square_losses
from limiar.train.record.resampling import Figure, auc_of, by_group, ece_of, mean_of, resampled, share_of


def answers(seed: int, n: int = 60):
    """Truth 0 or 1, and probabilities of two labels, some of which are equal."""
    rng = np.random.default_rng(seed)
    truth = np.append([0, 1], rng.integers(0, 2, n))
    of_positive = (rng.integers(0, 20, n + 2) + 8 * truth) / 28
    return truth, np.stack([1 - of_positive, of_positive], axis=1)


@given(st.integers(0, 10**6), st.lists(st.integers(0, 3), min_size=62, max_size=62))
def test_a_figure_of_weighted_images_is_that_of_images_which_are_there_so_often(seed, often):
    truth, probabilities = answers(seed)
    weights = np.array(often)
    weights[:2] += 1  # both labels
    rows = np.repeat(np.arange(62), weights)
    right, top = probabilities.argmax(axis=1) == truth, probabilities.max(axis=1)
    figures = {
        "accuracy": (share_of(right, np.full(62, True)), right[rows].mean()),
        "recall": (share_of(right, truth == 1), right[rows][truth[rows] == 1].mean()),
        "auc": (auc_of(truth == 1, probabilities[:, 1]), auc(truth[rows], probabilities[rows, 1])),
        "ece": (ece_of(right, top, ECE_BINS), ece(truth[rows], probabilities[rows])),
        "nll": (mean_of(log_losses(truth, probabilities)), nll(truth[rows], probabilities[rows])),
        "brier": (mean_of(square_losses(truth, probabilities)), brier(truth[rows], probabilities[rows])),
    }
    for figure, wanted in figures.values():
        assert figure.of(weights[np.newaxis].astype(float)) == pytest.approx([wanted], abs=1e-12)


def covered(images_of_a_group: int, grouped: bool, share: float = 0.8, rounds: int = 60) -> float:
    """How often an interval holds the true share, if the images of a group are all right or all wrong."""
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(rounds):
        right = np.repeat(rng.random(60) < share, images_of_a_group)
        metric = proportion(int(right.sum()), len(right))
        if grouped:
            groups = np.repeat(np.arange(60), images_of_a_group)
            metric = by_group({"a": metric}, {"a": share_of(right, np.full(len(right), True))}, groups)["a"]
        found += metric.low <= share <= metric.high
    return found / rounds


def test_intervals_by_group_hold_the_truth_where_those_by_image_do_not():
    assert covered(8, grouped=True) > 0.88
    assert covered(8, grouped=False) < 0.65  # the control: eight equal images are taken for eight


def test_intervals_by_group_are_about_those_by_image_if_each_group_has_one_image():
    right = np.random.default_rng(2).random(400) < 0.8
    by_image = proportion(int(right.sum()), 400)
    again = by_group({"a": by_image}, {"a": share_of(right, np.full(400, True))}, np.arange(400))["a"]
    assert (again.low, again.high) == (pytest.approx(by_image.low, abs=0.01), pytest.approx(by_image.high, abs=0.01))


def test_a_share_that_no_drawing_moves_has_wilsons_interval_with_groups_for_images():
    right, of_label = np.full(90, True), np.arange(90) < 30
    found = by_group({"a": proportion(30, 30)}, {"a": share_of(right, of_label)}, np.repeat(np.arange(9), 10))["a"]
    assert found == Metric(value=1.0, low=proportion(3, 3).low, high=1.0, n=30)  # three groups have such images


def test_drawings_without_an_image_of_the_label_are_left_out():
    among = np.array([True, False, False])
    assert set(resampled({"a": share_of(among, among)}, np.arange(3))["a"]) == {1.0}


def test_the_same_images_give_the_same_ends_whatever_the_groups_are_called():
    values = np.random.default_rng(3).random(50)
    figure: dict[str, Figure] = {"a": mean_of(values)}
    groups = np.repeat(np.arange(10), 5)
    assert by_group({"a": mean(values)}, figure, groups) == by_group({"a": mean(values)}, figure, 7 * groups + 3)
