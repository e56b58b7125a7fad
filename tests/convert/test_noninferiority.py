"""Bounds against published examples and a count over every outcome, and the three answers."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limiar.convert.gate.noninferiority import (
    bounds,
    decide,
    exact_p,
    exact_upper,
    images_to_decide,
    overall,
    paired_loss,
    paired_verdict,
    smallest_margin,
    tango_upper,
    worst,
)
from limiar.train.record import metrics

OUTCOMES = st.integers(1, 60).flatmap(
    lambda n: st.integers(0, n).flatmap(lambda lost: st.tuples(st.just(lost), st.integers(0, n - lost), st.just(n)))
)


@pytest.mark.parametrize(
    ("first", "second", "n", "low", "high"),
    [
        # M. W. Fagerland, S. Lydersen, P. Laake, Statistics in Medicine 33 (2014) 2850-2875: airway hyper-responsiveness
        # before and after stem cell transplantation, 1 and 7 discordant of 21; Tango's interval -0.517 to -0.026.
        (1, 7, 21, -0.517, -0.026),
        # M. W. Fagerland, S. Lydersen, P. Laake, Statistical Analysis of Contingency Tables (2017), chapter 8: complete
        # response before and after consolidation therapy, 6 and 16 discordant of 161; Tango's interval -0.1240 to -0.0054.
        (6, 16, 161, -0.124, -0.005),
    ],
)
def test_tango_s_interval_is_the_published_one(first: int, second: int, n: int, low: float, high: float) -> None:
    assert round(-tango_upper(second, first, n, 0.025), 3) == low
    assert round(tango_upper(first, second, n, 0.025), 3) == high


def score(lost: int, gained: int, n: int, loss: float) -> float:
    """Tango's score, with the rate of gained images found by search instead of by his formula."""
    best, most = 0.0, -math.inf
    for step in range(1, 4001):
        q = step / 4000 * (1 - loss) / 2
        if 2 * q + loss >= 1 or q + loss <= 0:
            continue
        likelihood = lost * math.log(q + loss) + gained * math.log(q) + (n - lost - gained) * math.log(1 - 2 * q - loss)
        if likelihood > most:
            best, most = q, likelihood
    return (lost - gained - n * loss) / math.sqrt(n * (2 * best + loss - loss**2))


@pytest.mark.parametrize(("lost", "gained", "n"), [(3, 2, 40), (9, 4, 190), (1, 7, 21), (12, 2, 120)])
def test_at_tango_s_bound_the_score_is_the_normal_quantile(lost: int, gained: int, n: int) -> None:
    assert score(lost, gained, n, tango_upper(lost, gained, n, 0.05)) == pytest.approx(-1.645, abs=0.01)


@pytest.mark.parametrize(("lost", "gained", "n", "loss"), [(0, 0, 12, 0.2), (1, 0, 12, 0.3), (2, 1, 14, 0.25), (4, 3, 12, 0.1)])
def test_the_exact_p_is_that_of_a_count_over_every_outcome(lost: int, gained: int, n: int, loss: float) -> None:
    from limiar.convert.gate.noninferiority import _score

    observed = _score(lost, gained, n, loss)
    tail = [
        (b, c) for b, c in itertools.product(range(n + 1), repeat=2) if b + c <= n and _score(b, c, n, loss) <= observed + 1e-9
    ]

    def chance(q: float) -> float:
        p = q + loss
        none = max(1 - p - q, 0.0)
        return sum(math.comb(n, b) * math.comb(n - b, c) * p**b * q**c * none ** (n - b - c) for b, c in tail)

    largest = max(chance((1 - loss) / 2 * step / 2000) for step in range(2001))
    assert exact_p(lost, gained, n, loss) == pytest.approx(largest, abs=2e-4)
    assert exact_p(lost, gained, n, loss) <= largest + 1e-6


@pytest.mark.parametrize("n", [20, 59, 190, 437])
def test_without_any_difference_the_exact_bound_is_the_rule_of_three(n: int) -> None:
    # (1 - bound)^n = alpha: Hanley and Lippman-Hand, JAMA 249 (1983) 1743-1745
    assert exact_upper(0, 0, n, 0.05) == pytest.approx(1 - 0.05 ** (1 / n), abs=5e-5)
    assert smallest_margin(n, 0.05) == pytest.approx(1 - 0.05 ** (1 / n), abs=5e-5)


@pytest.mark.parametrize("n", [3, 5, 10, 26, 59, 200, 1000, 4999])
def test_the_margin_that_training_foretells_is_the_one_that_the_gate_finds(n: int) -> None:
    assert metrics.smallest_margin(n, 0.05) == pytest.approx(bounds(0, 0, n, 0.05)[1], abs=3e-5)


@settings(max_examples=30, deadline=None)
@given(OUTCOMES)
def test_the_bounds_hold_the_loss_are_no_narrower_than_either_and_mirror_each_other(outcome: tuple[int, int, int]) -> None:
    lost, gained, n = outcome
    low, high = bounds(lost, gained, n, 0.05)
    assert -1 <= low <= (lost - gained) / n <= high <= 1
    assert high >= max(tango_upper(lost, gained, n, 0.05), exact_upper(lost, gained, n, 0.05))
    assert bounds(gained, lost, n, 0.05) == (-high, -low)


@settings(max_examples=20, deadline=None)
@given(OUTCOMES)
def test_one_more_lost_image_never_lowers_the_upper_bound(outcome: tuple[int, int, int]) -> None:
    lost, gained, n = outcome
    if lost + gained < n:
        assert bounds(lost + 1, gained, n, 0.05)[1] >= bounds(lost, gained, n, 0.05)[1] - 2e-5  # the bound's precision


@pytest.mark.parametrize(
    ("loss", "low", "high", "verdict"),
    [
        (0.01, -0.01, 0.049, "PASS"),
        (0.01, -0.01, 0.05, "INCONCLUSIVE"),  # the bound must be below the margin
        (0.06, 0.051, 0.08, "FAIL"),
        (0.06, 0.04, 0.09, "FAIL"),  # over the margin, and known well enough
        (0.06, 0.0, 0.12, "INCONCLUSIVE"),  # over the margin, but two margins wide
        (0.04, 0.02, 0.06, "INCONCLUSIVE"),
    ],
)
def test_the_three_answers_are_those_of_the_rule(loss: float, low: float, high: float, verdict: str) -> None:
    assert decide(loss, low, high, margin=0.05) == verdict


@pytest.mark.parametrize(("lost", "gained", "n"), [(2, 0, 60), (1, 0, 60), (6, 0, 60), (3, 1, 60), (9, 3, 190), (14, 5, 247)])
def test_an_undecided_loss_says_how_many_more_images_would_decide_and_they_do(lost: int, gained: int, n: int) -> None:
    found = paired_loss("sensitivity", lost, gained, n, margin=0.05, alpha=0.05)
    assert found.verdict == "INCONCLUSIVE"
    assert found.more_images is not None

    def said(count: int) -> str:
        return paired_verdict(round(lost / n * count), round(gained / n * count), count, margin=0.05, alpha=0.05)

    assert said(n + found.more_images) != "INCONCLUSIVE"
    assert said(n + found.more_images - 1) == "INCONCLUSIVE"


def test_no_number_of_images_decides_a_loss_of_the_margin_itself() -> None:
    assert images_to_decide(5, 0, 100, margin=0.05, alpha=0.05) is None


@pytest.mark.parametrize(("lost", "gained", "n"), [(-1, 0, 10), (6, 5, 10), (0, 0, 0)])
def test_counts_that_cannot_be_are_refused(lost: int, gained: int, n: int) -> None:
    with pytest.raises(ValueError, match="no paired outcome"):
        paired_loss("sensitivity", lost, gained, n, 0.05, 0.05)


def test_a_file_fails_with_its_worst_class_and_passes_only_with_all() -> None:
    assert overall(["PASS", "PASS"]) == "PASS"
    assert overall(["PASS", "INCONCLUSIVE"]) == "INCONCLUSIVE"
    assert overall(["INCONCLUSIVE", "FAIL", "PASS"]) == "FAIL"
    losses = [paired_loss(name, lost, 0, 200, 0.05, 0.05) for name, lost in (("a", 0), ("b", 40), ("c", 6))]
    assert worst(losses).name == "b"
