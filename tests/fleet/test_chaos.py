"""tests/harness/fleet_chaos.py and tests/harness/fleet_devices.py, with fewer rows and devices."""

import subprocess
import sys
from pathlib import Path

import pytest

from broker import program
from needed import Missing


def ran(project: Path, script: str, *words: str) -> str:
    """What it prints; it must pass."""
    try:
        program()
    except Missing as missing:
        pytest.skip(str(missing))
    command = [sys.executable, str(project / "tests" / "harness" / script), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nothing_is_lost_or_doubled_when_everything_is_killed(project: Path) -> None:
    said = ran(project, "fleet_chaos.py", "--rows", "600", "--devices", "3", "--seconds", "15")
    assert " 0 lost, 0 double, " in said


def test_devices_that_trust_the_broker_lose_rows(project: Path) -> None:
    said = ran(project, "fleet_chaos.py", "--rows", "900", "--devices", "3", "--seconds", "15", "--control")
    assert " 0 lost" not in said


def test_many_devices_are_followed_closely(project: Path) -> None:
    said = ran(project, "fleet_devices.py", "--devices", "12", "--hour", "120", "--every", "4", "--processes", "2")
    assert " 0 lost, 0 double, 12 devices with a status" in said
