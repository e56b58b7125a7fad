"""tests/harness/flip_install.py on the tiny bundle: no flipped bit of a bundle or an archive is installed with the key."""

import re
import subprocess
import sys
from pathlib import Path


def test_no_flip_is_installed_with_the_key_and_one_is_without(project: Path, tiny_path: Path) -> None:
    command = [sys.executable, project / "tests" / "harness" / "flip_install.py", "--bundle", tiny_path, "--seed", "5"]
    done = subprocess.run([*command, "--count", "800"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "without a key: accepted; unaltered, with the key: accepted\n" in done.stdout
    assert done.stdout.endswith(", 0 accepted; the bundle before is unchanged\n")
    kinds = dict(re.findall(r"^  ([a-z]+) +(E-[A-Z-]+) ", done.stdout, re.MULTILINE))
    assert {"manifest", "signature", "archive", "model", "golden"} <= kinds.keys()
