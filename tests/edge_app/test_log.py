"""Lines for the journal: levels, codes, one line for a state that lasts, and nothing that a file's name could forge."""

import io
import os
import subprocess
import sys

import pytest

from limiar.edge_app.health.log import Log, duration


class Now:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def written(stream: io.StringIO) -> list[str]:
    """The lines without their time."""
    return [line.partition(" ")[2] for line in stream.getvalue().splitlines()]


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(stream: io.StringIO, now: Now) -> Log:
    return Log("info", stream, now)


def test_a_line_has_its_level_and_its_code(log: Log, stream: io.StringIO) -> None:
    log.error("E-STORE-FULL", "the disk is full")
    log.warning("W-DRIFT", "brighter")
    log.info("I-SERVICE-START", "it answers")
    assert written(stream) == [
        "error E-STORE-FULL: the disk is full",
        "warning W-DRIFT: brighter",
        "info I-SERVICE-START: it answers",
    ]


def test_what_is_less_important_than_asked_for_is_not_written(stream: io.StringIO, now: Now) -> None:
    log = Log("warning", stream, now)
    log.info("I-SERVICE-START", "it answers")
    log.warning("W-DRIFT", "brighter")
    assert written(stream) == ["warning W-DRIFT: brighter"]


def test_a_state_that_lasts_is_a_line_when_it_begins_one_an_hour_and_one_when_it_ends(
    log: Log, stream: io.StringIO, now: Now
) -> None:
    for now.s in range(0, 9000, 5):
        log.state("disk", "error", "E-STORE-FULL", f"{now.s} bytes are free")
    log.over("disk", "there is space again")
    log.over("disk", "there is space again")
    assert written(stream) == [
        "error E-STORE-FULL: 0 bytes are free",
        "error E-STORE-FULL: 3600 bytes are free (after 60 min, seen 721 times)",
        "error E-STORE-FULL: 7200 bytes are free (after 2 h, seen 1441 times)",
        "info E-STORE-FULL: there is space again (after 2 h, seen 1800 times)",
    ]


def test_another_code_is_another_state(log: Log, stream: io.StringIO) -> None:
    log.state("disk", "error", "E-STORE-FULL", "full")
    log.state("disk", "error", "E-STORE-WRITE", "read-only")
    assert written(stream) == ["error E-STORE-FULL: full", "error E-STORE-WRITE: read-only"]


def test_a_state_that_comes_and_goes_gets_twelve_lines_an_hour(log: Log, stream: io.StringIO, now: Now) -> None:
    for now.s in range(3600):
        log.state("inbox", "error", "E-WATCH-MISSING", "gone")
        log.over("inbox", "back")
    assert len(written(stream)) == 12
    now.s = 3600
    log.state("inbox", "error", "E-WATCH-MISSING", "gone")
    assert written(stream)[-1] == "error E-WATCH-MISSING: gone (and 7188 lines that were not written, since it comes and goes)"


@pytest.mark.parametrize("nasty", ["a\nERROR forged", "\x1b[2Jgone", "\u202egpj", "a\x85b", "\udcff"])
def test_nothing_in_a_name_can_forge_a_line_or_act_on_a_terminal(log: Log, stream: io.StringIO, nasty: str) -> None:
    log.error("E-IMAGE-EMPTY", nasty)
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()


def test_a_message_without_end_and_passwords_are_cut(log: Log, stream: io.StringIO) -> None:
    log.error("E-SOURCE-OPEN", "rtsp://user:secret@camera/" + "x" * 100_000)
    assert "secret" not in stream.getvalue()
    assert len(stream.getvalue()) < 2100


JOURNAL = """
import os, sys
found = os.fstat(2)
os.environ["JOURNAL_STREAM"] = sys.argv[1] or f"{found.st_dev}:{found.st_ino}"
from limiar.edge_app.health.log import Log
Log().error("E-STORE-FULL", "full")
"""


@pytest.mark.parametrize(("stream", "journal"), [("", True), ("1:2", False), ("nonsense", False)])
def test_only_under_systemd_a_line_begins_with_its_number(stream: str, journal: bool) -> None:
    done = subprocess.run([sys.executable, "-P", "-c", JOURNAL, stream], stderr=subprocess.PIPE, text=True, check=True)
    assert done.stderr.startswith("<3>E-STORE-FULL: full\n") == journal
    assert done.stderr.endswith("E-STORE-FULL: full\n")


def test_a_log_that_cannot_be_written_stops_nothing(now: Now) -> None:
    with open("/dev/full", "w") as full:
        Log("info", full, now).error("E-STORE-FULL", "full")
        os.dup2(os.open("/dev/null", os.O_WRONLY), full.fileno())  # or its end would raise


@pytest.mark.parametrize(("seconds", "said"), [(8, "8 s"), (720, "12 min"), (7200, "2 h"), (12 * 86400, "12 days")])
def test_durations_are_for_people(seconds: float, said: str) -> None:
    assert duration(seconds) == said
