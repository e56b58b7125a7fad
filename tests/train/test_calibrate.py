"""The temperature that bisection finds, compared with the true one."""

import subprocess
import sys

import numpy as np
import pytest

from limiar.edge_app.inference.softmax import softmax
from limiar.train.fit.calibrate import TEMPERATURES, fit_temperature
from limiar.train.record.metrics import ece, nll


@pytest.fixture
def answers():
    """Logits whose softmax is true by construction: labels are drawn from it."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 3))
    truth = np.array([rng.choice(3, p=row) for row in softmax(logits)])
    return logits, truth


@pytest.mark.parametrize("factor", [0.8, 1.0, 3.0])
def test_a_known_overconfidence_is_found(answers, factor):
    logits, truth = answers
    assert fit_temperature(logits * factor, truth) == pytest.approx(factor, rel=0.03)  # 20,000 draws


def test_no_neighbouring_temperature_is_better(answers):
    logits, truth = answers
    best = fit_temperature(logits * 2, truth)
    there = nll(truth, softmax(logits * 2 / best))
    assert there < min(nll(truth, softmax(logits * 2 / (best * factor))) for factor in (0.97, 1.03))


def test_calibration_lowers_the_calibration_error(answers):
    logits, truth = answers
    hot = logits * 3
    before, after = (ece(truth, softmax(hot / t)) for t in (1.0, fit_temperature(hot, truth)))
    assert after < 0.02 < before


def test_a_validation_part_without_an_error_gives_no_certainty():
    logits = np.array([[5.0, -5.0], [-5.0, 5.0]] * 10)
    assert fit_temperature(logits, np.array([0, 1] * 10)) == pytest.approx(TEMPERATURES[0])


def test_the_softmax_of_many_images_is_that_of_each():
    logits = np.random.default_rng(1).normal(0, 50, (50, 4)).astype(np.float32)
    assert np.array_equal(softmax(logits), [softmax(row) for row in logits])


@pytest.mark.parametrize("right", [12, 60, 240])
def test_a_few_images_without_an_error_do_not_ask_for_certainty(right):
    logits = np.array([[2.0, -2.0], [-2.0, 2.0]] * (right // 2))
    truth = np.array([0, 1] * (right // 2))
    bold, cautious = fit_temperature(logits, truth), fit_temperature(logits, truth, caution=8.0)
    assert bold == pytest.approx(TEMPERATURES[0])
    assert bold < cautious < 1.0


def test_caution_yields_to_many_images(answers):
    logits, truth = answers
    assert fit_temperature(logits * 3, truth, caution=8.0) == pytest.approx(3.0, rel=0.03)


@pytest.mark.parametrize("count", [30, 60, 120])
def test_with_few_images_caution_brings_new_answers_nearer_to_what_they_say(answers, count):
    logits, truth = answers
    rng = np.random.default_rng(5)
    new = slice(10_000, 20_000)
    lost = {0.0: 0.0, 8.0: 0.0}
    for _ in range(40):
        drawn = rng.choice(10_000, count, replace=False)
        for caution in lost:
            temperature = fit_temperature(logits[drawn] * 1.1, truth[drawn], caution)
            lost[caution] += nll(truth[new], softmax(logits[new] * 1.1 / temperature)) / 40
    assert lost[8.0] < lost[0.0]


def test_no_neighbouring_temperature_is_better_with_caution_either(answers):
    logits, truth = (part[:50] for part in answers)
    best = fit_temperature(logits * 2, truth, caution=8.0)

    def objective(temperature):
        return 50 * nll(truth, softmax(logits * 2 / temperature)) + 8.0 * np.log(temperature) ** 2

    assert objective(best) < min(objective(best * factor) for factor in (0.97, 1.03))


def test_the_script_says_what_exact_confidences_would_show(project, small_run):
    command = [sys.executable, str(project / "studies" / "calibration.py"), str(small_run), str(small_run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert "if exact, on average" in head
    assert len(rows) == 2
    assert rows[0] == rows[1]  # the same RUN, the same draws
    images, value, mean, most = map(float, rows[0].split()[1:])
    assert images > 0
    assert 0 <= value <= 1
    assert 0 < mean < most < 1
