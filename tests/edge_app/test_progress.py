"""The progress line."""

import io
import time
from contextlib import redirect_stderr

import pytest

from limiar.edge_app.system.progress import ProgressLine


class Screen(io.StringIO):
    """A terminal of unknown width: 80 columns."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _xterm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def test_it_is_drawn_over_itself_and_cleared_at_the_end() -> None:
    with redirect_stderr(Screen()) as screen, ProgressLine(after_s=0, every_s=0) as line:
        line.draw("one")
        line.draw("two")
    assert screen.getvalue() == "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[K"


def test_work_that_ends_soon_shows_nothing() -> None:
    with redirect_stderr(Screen()) as screen, ProgressLine() as line:
        line.draw("one")
    assert screen.getvalue() == ""


def test_it_is_drawn_no_more_often_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    with redirect_stderr(Screen()) as screen:
        line = ProgressLine(after_s=0, every_s=0.05)
        line.draw("one")
        now_s += 0.04
        line.draw("two")
        now_s += 0.02
        line.draw("three")
    assert screen.getvalue() == "\r\x1b[Kone\r\x1b[Kthree"


def test_it_never_takes_two_rows() -> None:
    with redirect_stderr(Screen()) as screen:
        ProgressLine(after_s=0).draw("x" * 500)
    assert 70 < screen.getvalue().count("x") < 80


def test_a_terminal_that_cannot_rewrite_does_not_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with redirect_stderr(Screen()) as screen:
        ProgressLine(after_s=0).draw("one")
    assert screen.getvalue() == ""


def test_a_pipe_does_not_see_it() -> None:
    with redirect_stderr(io.StringIO()) as pipe:
        ProgressLine(after_s=0).draw("one")
    assert pipe.getvalue() == ""


def test_it_is_silent_if_asked_to_be() -> None:
    with redirect_stderr(Screen()) as screen:
        ProgressLine(shown=False, after_s=0).draw("one")
    assert screen.getvalue() == ""
