"""What a person sees and can do while a job starts."""

import gc
import os
import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from train import trackers
from train.cli import train
from train.progress import quiet


@pytest.fixture
def ctrl_c():
    """Python's own handler, whatever the shell that started the tests lets them ignore."""
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
    script = "import gc; from train.progress import quiet\nwith quiet():\n    import keras, jax\n"
    script += "print([one.__name__ for one in gc.callbacks])"
    environment = os.environ | {"KERAS_BACKEND": backend}
    found = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert ("_xla_gc_callback" in found.stdout) is kept
