"""Percentiles: how many calls they need, and that their intervals hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limiar.edge_app.bench.percentiles import early_stopping_us, needed, percentiles

CALLS = st.lists(st.integers(1, 10**9), min_size=1, max_size=1500).map(sorted)


@pytest.mark.parametrize(("percent", "calls"), [(50, 11), (90, 64), (95, 130), (99, 662), (99.9, 6636)])
def test_a_percentile_needs_as_many_calls_as_loadgens_early_stopping(percent: float, calls: int) -> None:
    """The 64 and 662 are in MLCommons' inference rules, appendix Early Stopping, as h + t with t = 1."""
    assert needed(percent) == calls
    assert percentiles(range(calls - 1), (percent,))[0].us is None
    assert early_stopping_us(range(calls - 1), percent) is None
    assert percentiles(range(calls), (percent,))[0].us is not None


@pytest.mark.parametrize("percent", [50, 90, 95, 99, 99.9])
def test_from_there_on_the_estimate_drops_the_highest_call_and_no_more(percent: float) -> None:
    calls = needed(percent)
    assert early_stopping_us(range(0, calls * 1000, 1000), percent) == calls - 1


def test_more_calls_let_the_estimate_drop_more() -> None:
    # P(Binomial(1000, 0.01) <= 2) = 0.0027 and <= 3 is 0.0101: two may lie above, the second highest is reported.
    assert early_stopping_us(range(1000, 1_001_000, 1000), 99) == 999
    # P(Binomial(10,000, 0.01) <= 76) = 0.0070 and <= 77 is 0.0091, <= 78 is 0.0119.
    assert early_stopping_us(range(1000, 10_001_000, 1000), 99) == 10_001 - 77


def test_too_few_calls_say_how_many_are_needed() -> None:
    found = percentiles(range(100), (99,))[0]
    assert (found.us, found.low_us, found.high_us, found.needs) == (None, None, None, 662)


def test_the_rank_is_exact_though_99_9_is_not() -> None:
    """10,000 * 99.9 / 100 is a little over 9990 in floating point; numpy 2.4's inverted_cdf gives the 9991st."""
    assert percentiles(range(1000, 10_001_000, 1000), (99.9,))[0].us == 9990


@given(CALLS)
def test_a_percentile_is_an_observation_inside_its_interval(ordered_ns: list[int]) -> None:
    for one in percentiles(ordered_ns):
        if one.us is None:
            assert len(ordered_ns) < one.needs
            continue
        assert one.us == np.percentile(ordered_ns, one.percent, method="inverted_cdf") / 1000
        assert one.low_us <= one.us <= one.high_us
        assert {one.low_us, one.high_us} <= {ns / 1000 for ns in ordered_ns}
        if (most := early_stopping_us(ordered_ns, one.percent)) is not None:
            assert one.us <= most


@given(CALLS, st.integers(1, 9))
def test_percentiles_do_not_fall_and_do_not_depend_on_the_unit(ordered_ns: list[int], factor: int) -> None:
    found = [one.us for one in percentiles(ordered_ns) if one.us is not None]
    assert found == sorted(found)
    slower = [one.us for one in percentiles([ns * factor for ns in ordered_ns]) if one.us is not None]
    assert slower == pytest.approx([us * factor for us in found])


@pytest.mark.parametrize(("percent", "calls"), [(50, 20), (50, 500), (90, 64), (95, 400), (99, 662), (99, 3000)])
def test_the_interval_encloses_the_true_percentile_in_95_of_100_samples(percent: float, calls: int) -> None:
    """2000 samples of a skewed distribution; 0.9354 is three standard deviations below 0.95."""
    rng = np.random.default_rng(17)
    true_us = float(np.quantile(np.exp(rng.normal(3, 1, 4_000_000)), percent / 100))
    held = 0
    for taken in np.sort(np.exp(rng.normal(3, 1, (2000, calls))) * 1000, axis=1):
        one = percentiles(taken, (percent,))[0]
        held += one.low_us <= true_us <= one.high_us
    assert held >= 0.9354 * 2000


def test_a_hundred_thousand_calls_have_finite_narrow_intervals() -> None:
    for one in percentiles(range(1000, 100_001_000, 1000)):  # 1, 2, … 100,000 microseconds
        assert one.us == one.percent * 1000
        half = 1.96 * (100_000 * one.percent / 100 * (1 - one.percent / 100)) ** 0.5  # of the normal approximation
        assert one.us - one.low_us == pytest.approx(half, abs=2)
        assert one.high_us - one.us == pytest.approx(half, abs=2)
