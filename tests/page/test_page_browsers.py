"""tests/harness/page_browsers.py, with fewer requests than a release has."""

import subprocess
import sys
from pathlib import Path


def ran(project: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(project / "tests" / "harness" / "page_browsers.py"), "--results", "60", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_browsers_that_look_and_review_leave_nothing_behind_in_the_page(project: Path) -> None:
    done = ran(project, "--browsers", "8", "--seconds", "60")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " of 303" in done.stdout  # forms were sent


def test_a_page_that_leaves_the_store_open_is_found(project: Path) -> None:
    done = ran(project, "--browsers", "2", "--seconds", "30", "--control")
    assert done.returncode == 0, done.stdout + done.stderr
