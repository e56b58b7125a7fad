"""Whether the clock can be believed: P10 of the promises, on clocks that are told what to show, and on real ones set wrong."""

import os
import time
from pathlib import Path

import pytest

from limiar.edge_app.health.clock import ClockTrust, Jump
from limiar.edge_app.system.clock import NOT_BEFORE_S
from limiar.edge_app.system.kernel_clock import kernel_synchronised_s

GOOD = NOT_BEFORE_S + 86_400.0
YEAR = 365 * 86_400.0


class World:
    """A device's clocks, and who vouches for them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.real, self.steady = GOOD, 100.0
        self.kernel: float | None = None  # how far off the kernel says that it is right; None: it does not say
        self.forbidden = False

    def trust(self) -> ClockTrust:
        return ClockTrust(lambda: self.real, lambda: self.steady, self._kernel_s, self.root)

    def _kernel_s(self) -> float | None:
        if self.forbidden:
            raise PermissionError
        return None if self.kernel is None else self.real + self.kernel

    def goes(self, seconds: float, jump: float = 0.0) -> None:
        self.steady += seconds
        self.real += seconds + jump

    def rtc(self, seconds: float) -> None:
        file = self.root / "sys/class/rtc/rtc0/since_epoch"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{int(seconds)}\n")

    def timesync(self, at: float) -> None:
        file = self.root / "run/systemd/timesync/synchronized"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        os.utime(file, (at, at))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_without_anyone_who_vouches_it_is_not_trusted(world: World) -> None:
    assert not world.trust().trusted


def test_a_year_before_limiar_is_not_trusted_whoever_vouches(world: World) -> None:
    world.real, world.kernel = 0.0, 0.0
    clock = world.trust()
    assert not clock.trusted
    assert clock.status().why == "it shows 1970-01-01, before this limiar was written"


def test_the_kernel_vouches_for_the_time_that_it_has_itself(world: World) -> None:
    world.kernel = 0.0
    assert world.trust().trusted
    world.kernel = 5 * YEAR  # this process is shown another one
    assert not world.trust().trusted


def test_a_clock_with_a_battery_vouches_if_it_agrees(world: World) -> None:
    world.rtc(world.real + 3)
    assert world.trust().trusted
    world.rtc(0)
    assert not world.trust().trusted


def test_timesyncd_vouches_where_the_kernel_may_not_be_asked(world: World) -> None:
    world.timesync(1.0)
    assert not world.trust().trusted  # the kernel may be asked, and does not say so
    world.forbidden = True
    assert world.trust().trusted


def test_it_stays_trusted_while_it_does_not_jump(world: World) -> None:
    world.kernel = 0.0
    clock = world.trust()
    world.kernel = None  # without a network the kernel gives up after 9 hours
    for _ in range(100):
        world.goes(600)
        assert clock.turn() is None
    assert clock.trusted


def test_a_jump_is_reported_and_ends_the_trust(world: World) -> None:
    world.kernel = 0.0
    clock = world.trust()
    world.kernel = None
    world.goes(0.05, jump=3600)
    jump = clock.turn()
    assert jump == Jump(3600.0, "2026-01-02T00:00:00.050Z", "2026-01-02T01:00:00.050Z")
    assert not clock.trusted
    assert clock.turn() is None
    assert (clock.status().jumps, clock.status().last_jump_s) == (1, 3600.0)


def test_a_clock_that_two_programs_fight_over_does_not_fill_the_disk(world: World) -> None:
    clock = world.trust()
    reported = []
    for turn in range(20 * 3600):
        world.goes(0.05, jump=3600 if turn % 2 else -3600)
        if jump := clock.turn():
            reported.append(jump)
    assert 60 < len(reported) <= 121
    assert [jump.times for jump in reported[:60]] == [1] * 60
    assert 0 <= clock.status().jumps - sum(jump.times for jump in reported) <= 1201


def test_after_a_jump_what_timesyncd_noted_before_does_not_count(world: World) -> None:
    world.forbidden = True
    world.timesync(1.0)
    clock = world.trust()
    world.goes(1, jump=-7200)
    assert clock.turn()
    assert not clock.trusted
    world.goes(60)
    clock.turn()
    assert not clock.trusted
    world.timesync(2.0)
    world.goes(60)
    clock.turn()
    assert clock.trusted


def test_a_time_server_that_sets_it_makes_it_trusted(world: World) -> None:
    world.real = 1000.0
    clock = world.trust()
    world.goes(1, jump=GOOD)
    world.kernel = 0.0
    assert clock.turn()
    assert clock.trusted


@pytest.mark.parametrize("rate", [-1 / 12, -0.0005, 0.0005, 1 / 12])  # chrony's fastest, ntpd's
@pytest.mark.parametrize("turn_s", [0.05, 5.0, 60.0])
def test_a_correction_that_creeps_is_no_jump(world: World, rate: float, turn_s: float) -> None:
    clock = world.trust()
    for _ in range(1000):
        world.goes(turn_s, jump=rate * turn_s)
        assert clock.turn() is None


@pytest.mark.parametrize("real", [-1e12, -1.0, 0.0, 4e9, 1e12, 1e17])
def test_no_time_is_too_wrong_for_it(world: World, real: float) -> None:
    clock = world.trust()
    world.goes(1)
    world.real = real
    assert clock.turn()
    assert clock.status().why


def test_the_kernel_can_be_asked_here() -> None:
    try:
        found = kernel_synchronised_s()
    except PermissionError:
        pytest.skip("a filter of system calls is active here")
    assert found is None or abs(found - time.time()) < 1


def test_under_a_filter_of_system_calls_the_kernel_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limiar.edge_app.system.sysfs.text", lambda *_: "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t3\n")
    with pytest.raises(PermissionError):
        kernel_synchronised_s()
