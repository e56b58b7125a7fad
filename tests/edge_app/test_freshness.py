"""Which frames of a camera are new: by their pixels, and by the camera's clock."""

import numpy as np
import pytest

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.camera.freshness import Delay, Freshness, Repeats
from limiar.edge_app.camera.messages import View
from limiar.edge_app.errors import SourceError


def noise(seed: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)


def repeated(*frames: Pixels) -> list[bool]:
    repeats = Repeats()
    return [repeats.repeated(frame) for frame in frames]


def test_frames_of_a_sensor_are_all_new() -> None:
    assert not any(repeated(*map(noise, range(100))))


@pytest.mark.parametrize("count", range(1, 7))
def test_buffers_that_are_shown_in_turn_are_repeats_from_the_first_round_on(count: int) -> None:
    shown = repeated(*[noise(number % count) for number in range(4 * count)])
    assert shown == [False] * count + [True] * 3 * count


def test_a_small_change_between_the_sampled_rows_is_a_new_frame_after_the_first_doubt() -> None:
    frames = [noise(1) for _ in range(20)]
    for number, frame in enumerate(frames):
        frame[5] = number
    assert repeated(*frames) == [False, True] + [False] * 18


def test_one_flat_colour_is_no_repeat() -> None:
    assert repeated(*[np.full((48, 64, 3), 7, np.uint8)] * 5) == [False] * 5


RATE_HZ = 20


def taken(seconds: float) -> list[float]:
    return [number / RATE_HZ for number in range(int(seconds * RATE_HZ))]


def late(stamps: list[float], delays: list[float]) -> list[bool]:
    """Of frames that arrive so many seconds after they were taken. The camera's clock is 1,000 s ahead."""
    delay = Delay()
    return [delay.late(1_000 + stamp, stamp + late_s) for stamp, late_s in zip(stamps, delays, strict=True)]


def test_frames_that_arrive_in_time_are_not_late() -> None:
    rng = np.random.default_rng(1)
    assert not any(late(taken(60), rng.uniform(0, 0.5, 60 * RATE_HZ).tolist()))


def test_frames_that_waited_in_the_network_are_late_until_it_has_caught_up() -> None:
    stamps = taken(20)
    delays = [0.05 if stamp < 10 else max(0.05, 13.0 - stamp) for stamp in stamps]  # nothing arrives for 3 s, then all at once
    found = late(stamps, delays)
    assert [stamp for stamp, is_late in zip(stamps, found, strict=True) if is_late] == [
        stamp for stamp in stamps if 10 <= stamp < 11.95
    ]


def test_a_slow_camera_clock_makes_no_frame_late_in_a_day() -> None:
    stamps = [number * 1.0 for number in range(86_400)]
    assert not any(late(stamps, [stamp * 5e-4 for stamp in stamps]))  # 43 s behind at the end


def test_a_clock_that_stands_still_or_goes_at_another_pace_is_ignored() -> None:
    delay = Delay()
    assert not any(delay.late(1_000.0, now) for now in taken(30))
    delay = Delay()
    assert not any(delay.late(1_000 + now / 2, now) for now in taken(30))


@pytest.mark.parametrize("stamp", [None, 0.0, -1.0])
def test_a_camera_without_a_clock_is_not_judged_by_it(stamp: float | None) -> None:
    delay = Delay()
    assert not any(delay.late(stamp, now) for now in taken(30))


@pytest.mark.parametrize(("rate_hz", "answered"), [(20, 7), (1.5, 7), (1, 6), (0.5, 4)])
def test_a_camera_is_believed_once_it_has_shown_some_new_frames(rate_hz: float, answered: int) -> None:
    freshness = Freshness(View("fake:0"))
    believed = []
    for number in range(10):
        assert not freshness.is_old(noise(number), None, number / rate_hz)
        believed.append(freshness.proves(number / rate_hz))
    assert believed == [False] * (answered - 1) + [True] * (11 - answered)


def test_a_camera_that_is_late_for_good_is_an_error_and_not_an_answer() -> None:
    freshness = Freshness(View("fake:0"))
    arrived = [*taken(10), *[13 + now for now in taken(1.4)]]  # from then on, 3 s late
    old = [freshness.is_old(noise(number), 1_000 + number / RATE_HZ, now) for number, now in enumerate(arrived)]
    assert old == [False] * 10 * RATE_HZ + [True] * (len(old) - 10 * RATE_HZ)
    with pytest.raises(SourceError, match=r"E-SOURCE-LATE: fake:0 has sent only old frames for 5 s"):
        freshness.is_old(noise(1_000), 1_000 + len(old) / RATE_HZ, 15.0)


def test_a_camera_that_shows_its_buffers_in_turn_is_frozen() -> None:
    freshness = Freshness(View("fake:0"))
    old = [freshness.is_old(noise(number % 4), None, now) for number, now in enumerate(taken(4.5))]
    assert old == [False] * 4 + [True] * (len(old) - 4)
    assert not freshness.proves(4.5)
    with pytest.raises(SourceError, match=r"E-SOURCE-FROZEN: fake:0 has repeated"):
        freshness.is_old(noise(1), None, 5.0)
