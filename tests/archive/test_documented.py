"""docs/archive.md, as it is printed, in a namespace where nothing is but limiar."""

import subprocess
import sys
from pathlib import Path

from privileges import need_root


def test_the_page_runs_as_it_is_printed_with_an_empty_home_and_no_network(project: Path) -> None:
    need_root("unshare", "openssl")
    script = project / "tests" / "harness" / "archive_fresh.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": passed (") >= 6
