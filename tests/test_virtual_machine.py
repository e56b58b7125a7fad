"""How scripts/virtual_pi machine reads a machine's output, tested without a machine."""

import io
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from virtualpi import Failed
from virtualpi.boot import Guest
from virtualpi.machine import CONTROLS, _cut_outcome
from virtualpi.powercuts import IMAGES, KEPT, Cut, Kind, Series

SPOKEN = """\xf0\0
@begin board
Raspberry Pi 3 Model B\0

@errors
@end 0
@begin verify
@errors
it is not there: look
@end 1
@scan
{"sha256":"a"}
{"sha256":"b"}
"""


def guest(text: str, limit_s: float = 60.0) -> Guest:
    """A guest that has printed this and ended."""
    process = cast(Any, SimpleNamespace(stdout=io.StringIO(text)))
    made = Guest(process, io.StringIO(), time.monotonic() + limit_s)
    made.listen()
    return made


def test_answers_come_by_name_whatever_a_serial_line_begins_with() -> None:
    answers = guest(SPOKEN).answers("@scan")
    assert answers == {"board": ("Raspberry Pi 3 Model B\n", "", 0), "verify": ("", "it is not there: look", 1)}


@pytest.mark.parametrize("end", ['{"sha256":"c"', '{"sha256":"c"}'])
def test_a_line_counts_when_its_end_has_been_read(end: str) -> None:
    cut = guest(SPOKEN + end)
    cut.answers("@scan")
    assert [cut.next_line(), cut.next_line()] == ['{"sha256":"a"}', '{"sha256":"b"}']
    with pytest.raises(Failed, match="ended"):
        cut.next_line()


def test_a_machine_that_ends_or_says_nothing_is_no_answer() -> None:
    with pytest.raises(Failed, match="ended"):
        guest("@begin board\n").answers()
    silent = guest("", limit_s=0.0)
    silent.lines.get()  # its end
    with pytest.raises(Failed, match="in time"):
        silent.answers()


def series(kind: Kind, *cuts: tuple[int, int, bool]) -> Series:
    """cuts: lines reported, those lost until now, and whether the database was whole."""
    return Series(kind, [Cut(number, 1.0, reported, 9, 9, 512, *found) for number, (reported, *found) in enumerate(cuts, 1)])


@pytest.mark.parametrize(
    ("cuts", "passed"),
    [
        ([(30, 0, True), (40, 0, True)], True),
        ([(30, 1, True), (40, 1, True)], False),
        ([(30, 0, True), (40, 0, False)], False),
        ([(30, 0, True), (0, 0, True)], False),  # it was not in a scan
        ([(30, 0, True), (IMAGES, 0, True)], False),  # nor here: it had ended
        ([], False),
    ],
)
def test_power_cuts_pass_where_nothing_is_lost_in_the_middle_of_scans(cuts: list[tuple[int, int, bool]], passed: bool) -> None:
    assert _cut_outcome(series(KEPT, *cuts), seed=1).passed is passed


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_that_loses_nothing_fails(control: Kind) -> None:
    assert _cut_outcome(series(control, (30, 30, True)), seed=1).passed
    assert not _cut_outcome(series(control, (30, 0, True)), seed=1).passed
