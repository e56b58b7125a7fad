"""tests/harness/clock_jumps.py on the tiny bundle: a service whose clock is set wrong again and again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def test_a_service_keeps_order_and_answers_whatever_its_clock_shows(project: Path, tiny_path: Path) -> None:
    if not list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")) or not shutil.which("unshare") or os.geteuid():
        if os.environ.get("LIMIAR_REQUIRE_ROOT_TESTS") == "1":
            pytest.fail("LIMIAR_REQUIRE_ROOT_TESTS=1, but libfaketime, or a private mount, cannot be used here")
        pytest.skip("needs libfaketime (apt install faketime), unshare and root")
    command = [sys.executable, project / "tests" / "harness" / "clock_jumps.py", "--bundle", tiny_path]
    done = subprocess.run([*command, "--cases", "8", "--seed", "3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[0])
    assert found["cases"] == 8
    assert not any(found[name] for name in ("wrong_order", "answered_again", "not_audited", "wrong_trust"))
