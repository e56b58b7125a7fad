"""The trace of an installation: nothing is renamed into place before it is on the disk, and a flush that is left out is seen.

tests/harness/install_cuts.py also cuts the power, after each of these system calls.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from install_cuts import CALLS, INSTALL, MUTANTS, faults_in
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.install.slots import Slots
from updates import release


def traced(tmp_path: Path, tiny: Bundle, mutant: str = "") -> list[str]:
    """The faults of a second installation."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    state = tmp_path / "state"
    first, second = (release(tmp_path / str(counter), tiny, counter, small=True) for counter in (1, 2))
    command = [sys.executable, "-P", "-B", "-c"]
    subprocess.run([*command, INSTALL.format(""), state, first], check=True, capture_output=True)
    Slots(state).start()
    strace = ["strace", "-qq", "-y", "-o", tmp_path / "trace", "-e", f"trace=openat,{CALLS}"]
    subprocess.run([*strace, *command, INSTALL.format(mutant), state, second], check=True, capture_output=True)
    return faults_in((tmp_path / "trace").read_text().splitlines(), state / "bundles")


def test_everything_is_on_the_disk_before_it_is_renamed_into_place(tmp_path: Path, tiny_bundle: Bundle) -> None:
    assert traced(tmp_path, tiny_bundle) == []


@pytest.mark.parametrize("what", MUTANTS)
def test_a_flush_that_is_left_out_is_seen(tmp_path: Path, tiny_bundle: Bundle, what: str) -> None:
    assert traced(tmp_path, tiny_bundle, MUTANTS[what])
