"""A conversion that is stopped ends at once, or once the file that it writes is complete, and never goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from limiar.convert.steps import Steps

BOTH = pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])


@BOTH
def test_a_signal_raises_where_it_hits(number: int, raised: type[BaseException]) -> None:
    with Steps(), pytest.raises(raised):
        signal.raise_signal(number)


@BOTH
def test_a_signal_that_was_swallowed_is_met_at_the_next_note(number: int, raised: type[BaseException]) -> None:
    with Steps() as steps:
        with pytest.raises(raised):  # as TensorFlow does
            signal.raise_signal(number)
        with pytest.raises(raised):
            steps.note("the next file")


@BOTH
def test_a_signal_waits_until_what_is_written_is_whole(number: int, raised: type[BaseException]) -> None:
    done = []

    def write() -> None:
        with Steps() as steps, steps.writing():
            signal.raise_signal(number)
            done.append("written")

    with pytest.raises(raised):
        write()
    assert done == ["written"]


def test_afterwards_signals_act_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Steps():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("there", ["*", "*/*/saved_model"], ids=["loading TensorFlow", "with its SavedModel there"])
def test_a_stopped_conversion_leaves_nothing_behind(run: Path, tmp_path: Path, there: str, number: int, status: int) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-P", "-m", "limiar", "convert", str(run), "--out", str(tmp_path / "out")]
    # A shell that started the tests in the background lets them, and their children, ignore Ctrl-C.
    process = subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(scratch)},
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 300
    while not list(scratch.glob(there)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=300)
    assert process.returncode == status
    assert list(scratch.iterdir()) == []
    assert list(tmp_path.iterdir()) == [scratch]
