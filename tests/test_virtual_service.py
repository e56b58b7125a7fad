"""How scripts/virtual_pi service reads what a machine says, tested without a machine."""

import pytest

from virtualpi.boot import Said
from virtualpi.powercuts import KEPT, Cut, Series
from virtualpi.service import _CONTROL, IMAGES, _cut_outcome, _end_outcome, _step


@pytest.mark.parametrize(
    ("reported", "lost", "whole", "passed"), [(9, 0, True, True), (9, 1, True, False), (9, 0, False, False)]
)
def test_power_cuts_pass_if_nothing_is_lost(reported: int, lost: int, whole: bool, passed: bool) -> None:
    cut = Cut(1, 1.0, reported, 9, 9, 512, lost, whole)
    assert _cut_outcome(Series(KEPT, [cut]), seed=1).passed is passed


def test_a_control_that_loses_nothing_fails() -> None:
    assert [_cut_outcome(Series(_CONTROL, [Cut(1, 1.0, 9, 0, 9, 512, lost)]), seed=1).passed for lost in (0, 9)] == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("answers", "done", "passed"), [(IMAGES, IMAGES, True), (IMAGES + 1, IMAGES, False), (IMAGES, 0, False)]
)
def test_in_the_end_each_image_is_answered_and_moved(answers: int, done: int, passed: bool) -> None:
    hashes = ",".join(f'"{index}"' for index in range(answers))
    end = {
        "answered": Said(f'{{"integrity":"ok","images":[{hashes}],"frames":{{}}}}', "", 0),
        "files": Said(f'{{"done":{done},"quarantine":0,"left":{IMAGES - done}}}', "", 0),
    }
    assert _end_outcome(Series(KEPT, [], end)).passed is passed


@pytest.mark.parametrize(
    ("said", "passed"),
    [
        ('{"seconds":40.0,"NRestarts":"1"}', True),
        ('{"seconds":null,"NRestarts":"1"}', False),
        ('{"seconds":40.0,"NRestarts":"3"}', False),
    ],
)
def test_a_step_passes_in_time_and_with_the_restarts_that_it_needs(said: str, passed: bool) -> None:
    assert _step({"main": Said(said, "", 0)}, "main", "it is started again", restarts="1").passed is passed
