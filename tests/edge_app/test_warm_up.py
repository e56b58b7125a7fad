"""From which call on a measurement counts as steady, on series made for it: 1,000 calls in blocks of 20."""

import numpy as np
import pytest
from numpy.typing import NDArray

from limiar.edge_app.bench.steady import steady_after

CALLS, BLOCK, US = 1000, 20, 1000
AT = np.arange(CALLS) / CALLS  # of the whole


def noisy(seed: int = 0) -> NDArray[np.float64]:
    """30 us, up to some 10 % more, and now and then a call that another program stopped for up to 10 ms."""
    rng = np.random.default_rng(seed)
    taken = 30 * US * (1 + rng.gamma(2, 0.02, CALLS))
    stopped = rng.random(CALLS) < 0.005
    taken[stopped] *= rng.uniform(5, 300, stopped.sum())
    return taken


def dropped(taken: NDArray[np.float64]) -> int | None:
    return steady_after([int(ns) for ns in taken], BLOCK)


def test_calls_that_all_take_the_same_are_steady_from_the_start() -> None:
    assert dropped(np.full(CALLS, 30.0 * US)) == 0


@pytest.mark.parametrize("seed", range(10))
def test_noise_with_stops_is_steady_from_near_the_start(seed: int) -> None:
    assert dropped(noisy(seed)) <= 0.15 * CALLS


@pytest.mark.parametrize("seed", range(10))
def test_a_start_that_falls_off_is_dropped_until_it_has(seed: int) -> None:
    found = dropped(noisy(seed) * (1 + 0.5 * np.exp(-AT / 0.05)))
    assert 0.1 * CALLS <= found <= 0.4 * CALLS  # e^-2 to e^-8 of it is left


@pytest.mark.parametrize("seed", range(10))
def test_a_step_is_dropped_whole(seed: int) -> None:
    found = dropped(noisy(seed) * np.where(AT < 0.2, 1.1, 1))
    assert 0.2 * CALLS <= found <= 0.4 * CALLS


def test_a_step_down_is_as_unsteady_as_a_step_up() -> None:
    assert 0.2 * CALLS <= dropped(noisy() * np.where(AT < 0.2, 0.9, 1)) <= 0.4 * CALLS


@pytest.mark.parametrize("seed", range(10))
def test_a_step_in_the_second_half_was_never_steady(seed: int) -> None:
    assert dropped(noisy(seed) * np.where(AT < 0.7, 1, 1.1)) is None


def test_a_drift_is_never_steady() -> None:
    assert dropped(noisy() * (1 + 0.3 * AT)) is None


@pytest.mark.parametrize("where", [0.5, 0.6, 0.8])
def test_a_burst_of_load_in_a_steady_measurement_drops_nothing(where: float) -> None:
    assert dropped(noisy() * np.where((where <= AT) & (where + 0.05 > AT), 3, 1)) <= 0.15 * CALLS


def test_a_clock_of_whole_microseconds_does_not_decide() -> None:
    assert dropped(np.round(noisy() / 200 / US) * US + 30 * US) == 0


def test_of_under_ten_blocks_nothing_is_said() -> None:
    assert steady_after([30 * US] * (10 * BLOCK - 1), BLOCK) is None
    assert steady_after([30 * US] * (10 * BLOCK), BLOCK) == 0
