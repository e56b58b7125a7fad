"""tests/harness/archive_kills.py, in small: workers and drivers killed, poison among the images; and its control."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

HARNESS = Path(__file__).parents[1] / "harness"


def found(tmp_path: Path, *words: str) -> dict[str, Any]:
    results = tmp_path / "results.json"
    command = [sys.executable, HARNESS / "archive_kills.py", "--images", "300", "--kills", "1", "--results", results, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert results.exists(), done.stderr
    return msgspec.json.decode(results.read_bytes(), type=dict[str, Any])


@pytest.mark.parametrize("control", [False, True])
def test_every_image_is_answered_once_though_workers_and_drivers_are_killed(tmp_path: Path, control: bool) -> None:
    words = ("--control", "--poison", "0") if control else ("--poison", "2")
    seen = found(tmp_path, *words)
    assert (seen["killed_workers"], seen["killed_drivers"], seen["equal"]) == (1, 1, True)
    if control:  # it writes in place: what a killed worker left is taken for done
        assert seen["lost"] > 0
        assert seen["damaged"] > 0
        return
    wrong = ("lost", "double", "differ", "damaged", "left_running", "left_in_scratch", "second_run_wrote")
    assert {name: seen[name] for name in wrong} == dict.fromkeys(wrong, 0)
    assert seen["poison_by_code"] == 2
