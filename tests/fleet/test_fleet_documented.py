"""docs/fleet.md, as it is printed, in a namespace where nothing is but limiar and the servers of a fleet."""

import subprocess
import sys
from pathlib import Path

from privileges import need_root


def test_the_page_leads_from_nothing_to_a_new_bundle_on_a_device(project: Path) -> None:
    need_root("unshare", "openssl", "mosquitto", "nginx", "ip")
    script = project / "tests" / "harness" / "fleet_fresh.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 device: 1 trial" in done.stdout
    assert "certificate revoked" in done.stdout
