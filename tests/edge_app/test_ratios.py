"""The intervals of ratios hold, and simpler ones would not."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from limiar.edge_app.bench import ratios
from limiar.edge_app.bench.ratios import alike, between, within
from limiar.edge_app.bench.yardstick import yardstick

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]
# The logarithms of five medians: as they are in the books, with a few slow processes, and as on a processor with two clocks.
NOISE: dict[str, Draw] = {
    "normal": lambda rng, count: rng.normal(0, 0.03, count),
    "skewed": lambda rng, count: rng.exponential(0.03, count),
    "two clocks": lambda rng, count: 0.05 * (rng.random(count) < 0.3) + rng.normal(0, 0.005, count),
}


def linked(rng: np.random.Generator, count: int, deviation: float, link: float) -> NDArray[np.float64]:
    """float64 [count], each of which keeps `link` of the one before."""
    values = rng.normal(0, deviation, count)
    for at in range(1, count):
        values[at] += link * values[at - 1]
    return values


def rounds(logs: NDArray[np.float64], us: float) -> list[list[int]]:
    return [[round(us * 1000 * math.exp(log))] for log in logs]


@pytest.mark.parametrize("count", [10, 25, 50, 200])
def test_the_interval_within_a_run_holds_though_rounds_hang_together(count: int) -> None:
    rng, held = np.random.default_rng(count), 0
    for _ in range(500):
        shared = linked(rng, count, 0.1, 0.7)  # what slows both
        old, new = (rounds(shared + linked(rng, count, 0.02, 0.3), us) for us in (30, 33))
        found = within(old, new, rng)
        held += found.low <= 1.1 <= found.high
    assert held >= 500 * (0.95 - 3 * math.sqrt(0.95 * 0.05 / 500))  # 0.921


def test_what_slows_both_variants_does_not_widen_their_interval() -> None:
    rng = np.random.default_rng(5)
    own, shared = (rng.normal(0, deviation, (2, 50)) for deviation in (0.01, 0.5))
    calm = within(rounds(own[0], 30), rounds(own[1], 33), np.random.default_rng(0))
    shaken = within(rounds(own[0] + shared[0], 30), rounds(own[1] + shared[0], 33), np.random.default_rng(0))
    assert (shaken.ratio, shaken.low, shaken.high) == pytest.approx((calm.ratio, calm.low, calm.high), rel=1e-3)


def test_a_round_that_was_stopped_moves_nothing() -> None:
    old, new = rounds(np.zeros(50), 30), rounds(np.zeros(50), 33)
    new[7] = [30_000_000]
    assert within(old, new, np.random.default_rng(0)).ratio == pytest.approx(1.1)


def test_of_one_round_nothing_is_said_and_unpaired_rounds_are_refused() -> None:
    rng = np.random.default_rng(0)
    assert within([[1]], [[2]], rng) is None
    with pytest.raises(ValueError, match="in pairs: 1 and 2"):
        within([[1]], [[1], [2]], rng)


@pytest.mark.parametrize("processes", [2, 3, 5, 10])
@pytest.mark.parametrize("noise", NOISE)
def test_the_interval_between_runs_holds(noise: str, processes: int) -> None:
    rng, held = np.random.default_rng(processes), 0
    for _ in range(1000):
        old, new = (30 * np.exp(NOISE[noise](rng, processes)) for _ in range(2))
        found = between([*old], [*new])
        held += found.low <= 1 <= found.high
    assert held >= 1000 * (0.95 - 3 * math.sqrt(0.95 * 0.05 / 1000))  # 0.929


def test_the_interval_between_runs_holds_though_whole_runs_differ_if_it_knows_by_how_much() -> None:
    rng, held = np.random.default_rng(0), {0.0: 0, 0.005: 0}
    for _ in range(1000):
        old, new = (30 * np.exp(rng.normal(rng.normal(0, 0.005), 0.005, 5)) for _ in range(2))
        for drift in held:
            found = between([*old], [*new], drift)
            held[drift] += found.low <= 1 <= found.high
    assert held[0.0] < 700
    assert held[0.005] >= 1000 * (0.95 - 3 * math.sqrt(0.95 * 0.05 / 1000))


@pytest.mark.parametrize(
    ("processes_us", "kept"),
    [
        ([0.898, 0.904, 0.901, 0.995, 0.901], [0.898, 0.904, 0.901, 0.901]),  # met: one process in a slow place
        ([0.995, 0.898, 0.904, 0.901, 0.99], [0.995, 0.898, 0.904, 0.901, 0.99]),  # two are a spread
        ([1.0, 1.001, 1.002, 1.0, 1.02], [1.0, 1.001, 1.002, 1.0, 1.02]),  # 2 % apart
        ([1.0, 1.0, 1.0, 1.5], [1.0, 1.0, 1.0, 1.5]),  # too few to know
    ],
)
def test_one_process_that_is_far_apart_from_all_others_is_left_out(processes_us: list[float], kept: list[float]) -> None:
    assert alike(processes_us) == kept


def test_hardly_any_normal_sample_loses_a_process() -> None:
    rng = np.random.default_rng(0)
    lost = sum(len(alike([*np.exp(rng.normal(0, 0.02, 5))])) < 5 for _ in range(5000))
    assert lost < 0.01 * 5000


def test_a_bootstrap_of_five_processes_would_not_hold() -> None:
    rng, held = np.random.default_rng(5), 0
    for _ in range(1000):
        old, new = (rng.normal(0, 0.03, 5) for _ in range(2))
        gains = rng.choice(new, (500, 5)).mean(axis=1) - rng.choice(old, (500, 5)).mean(axis=1)
        low, high = np.percentile(gains, (2.5, 97.5))
        held += low <= 0 <= high
    assert held < 900


def test_the_interval_between_runs_is_welchs() -> None:
    """scipy 1.16's ttest_ind of the logarithms, equal_var=False, has 4.45 degrees of freedom; 4 are taken."""
    found = between([30.0, 31, 30.5, 33], [35.0, 34.2, 36, 33.9, 35.5, 34])
    assert found.ratio == pytest.approx((1.05042 * 1.18875) ** 0.5, rel=1e-4)
    assert (found.low, found.high) == pytest.approx((1.0504, 1.1887), rel=0.005)
    assert found.low < 1.0504 < 1.1887 < found.high


def test_the_table_of_t_is_students() -> None:
    """Its closed forms for 1 and 2 degrees of freedom (Abramowitz & Stegun 26.7.3-4), 26.7.5 from 6 on."""
    assert ratios._T[0] == pytest.approx(math.tan(0.475 * math.pi), abs=5e-4)
    assert ratios._T[1] == pytest.approx(0.95 * math.sqrt(2 / (1 - 0.95**2)), abs=5e-4)
    z = 1.959964
    for freedom in range(6, 31):
        series = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        series += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
        assert ratios._T[freedom - 1] == pytest.approx(series, abs=4e-3)


def test_processes_that_are_alike_give_a_point_and_one_process_gives_nothing() -> None:
    found = between([30, 30], [33, 33])
    assert (found.ratio, found.low, found.high) == pytest.approx((1.1, 1.1, 1.1))
    assert between([30], [33, 33]) is None


def test_the_yardstick_is_work_that_can_be_repeated() -> None:
    work = yardstick()
    assert [work() for _ in range(3)] == [None] * 3
