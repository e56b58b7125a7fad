"""What a person sees and can do while a job starts."""

import gc
import itertools
import os
import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from limiar.train.commands.terminal import Epochs, Terminal
from limiar.train.commands.train import train
from limiar.train.fit.importing import quiet
from limiar.train.tracking import trackers


@pytest.fixture
def ctrl_c():
    """Python's own handler for SIGINT, even if the shell that started the tests ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_ctrl_c_that_python_would_pass_over_interrupts_after_the_imports(ctrl_c):
    def interrupted(*args):
        gc.callbacks.remove(interrupted)
        os.kill(os.getpid(), signal.SIGINT)

    seen = []

    def imports():
        with quiet():
            gc.callbacks.append(interrupted)
            gc.collect()
            seen.append("imported")

    with pytest.raises(KeyboardInterrupt):
        imports()
    assert seen == ["imported"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_ends_the_wait_for_a_server_at_once(ctrl_c, tmp_path, monkeypatch):
    waited = []

    def waits(*place):
        os.kill(os.getpid(), signal.SIGINT)
        waited.append(place)

    monkeypatch.setattr(trackers, "open_trackers", waits)
    done = CliRunner().invoke(train, [str(tmp_path), "--out", str(tmp_path / "run")], standalone_mode=False)
    assert isinstance(done.exception, click.Abort)
    assert waited == []
    assert "nothing is kept" in done.stderr


def test_ctrl_c_with_an_epoch_kept_says_how_to_go_on(ctrl_c, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "open_trackers", lambda *place: os.kill(os.getpid(), signal.SIGINT))
    (tmp_path / "run.partial").mkdir()
    (tmp_path / "run.partial" / "state.json").write_text("{}")
    done = CliRunner().invoke(train, [str(tmp_path), "--out", str(tmp_path / "run")], standalone_mode=False)
    assert "keeps what was done: repeat the command to continue" in done.stderr


@pytest.fixture
def clock(monkeypatch):
    """clock(seconds): so much later."""
    now = [1000.0]
    monkeypatch.setattr("limiar.train.commands.terminal.time.monotonic", lambda: now[0])

    def later(seconds):
        now[0] += seconds

    return later


def trained(terminal, clock, epochs=300, each_s=1.5):
    shown = Epochs(terminal)
    shown.begin(0, epochs, quick=50)
    for number in range(1, epochs + 1):
        clock(each_s)
        shown.epoch(number, f"loss {1 / number:.3f}")


def test_a_pipe_gets_the_first_and_the_last_epoch_and_one_every_ten_seconds(clock, capsys):
    trained(Terminal(), clock)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch ")]
    numbers = [int(line.split()[1].partition("/")[0]) for line in lines]
    assert (numbers[0], numbers[-1]) == (1, 300)
    assert all(6 <= after - before <= 8 for before, after in itertools.pairwise(numbers[1:-1]))
    assert "left" in lines[1]


def test_how_long_it_takes_is_said_after_the_second_epoch(clock, capsys):
    trained(Terminal(), clock)
    said = capsys.readouterr().err.splitlines()
    assert "300 epochs of 1.5 s: about 7 min from now; --quick takes 75 s" in said[:3]


def test_a_short_training_needs_no_estimate(clock, capsys):
    trained(Terminal(), clock, epochs=5)
    assert "from now" not in capsys.readouterr().err


def test_quiet_shows_no_progress_and_keeps_notes(clock, capsys):
    terminal = Terminal(quiet=True)
    trained(terminal, clock)
    terminal.note("a warning")
    assert capsys.readouterr().err == "a warning\n"


def test_quick_is_a_recipe_and_goes_with_no_other(tmp_path):
    done = CliRunner().invoke(train, [str(tmp_path), "--out", str(tmp_path / "run"), "--quick", "--recipe", "reference"])
    assert done.exit_code == 2
    assert "--quick is the recipe limiar" in done.stderr


def test_what_ignores_ctrl_c_goes_on_ignoring_it(ctrl_c):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with quiet():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_an_error_of_the_imports_is_the_one_that_is_seen(ctrl_c):
    with pytest.raises(ValueError, match="broken"), quiet():
        raise ValueError("broken")


@pytest.mark.parametrize(("backend", "kept"), [("tensorflow", False), ("jax", True)])
def test_no_ctrl_c_can_be_lost_in_jaxs_callback_where_another_backend_trains(backend, kept):
    script = "import gc; from limiar.train.fit.importing import quiet\nwith quiet():\n    import keras, jax\n"
    script += "print([one.__name__ for one in gc.callbacks])"
    environment = os.environ | {"KERAS_BACKEND": backend}
    found = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert ("_xla_gc_callback" in found.stdout) is kept
