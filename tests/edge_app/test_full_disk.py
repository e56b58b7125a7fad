"""tests/harness/full_disk.py on the tiny bundle: a service whose disk is taken away and given back."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def test_a_service_outlives_a_full_disk_and_one_that_fails_and_loses_nothing(project: Path, tiny_path: Path) -> None:
    if not shutil.which("unshare") or not shutil.which("strace") or os.geteuid():
        if os.environ.get("LIMIAR_REQUIRE_ROOT_TESTS") == "1":
            pytest.fail("LIMIAR_REQUIRE_ROOT_TESTS=1, but a private mount, or strace, cannot be used here")
        pytest.skip("needs unshare, strace and root")
    command = [sys.executable, project / "tests" / "harness" / "full_disk.py", "--bundle", tiny_path]
    done = subprocess.run([*command, "--cases", "2", "--seed", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[0])
    assert found["cases"] == 2
    assert not any(found[name] for name in ("lost", "twice", "corrupt", "unsaid", "late", "restarts"))
