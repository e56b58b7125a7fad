"""studies/strangers_models.py: the line that refuses a model names what to do, and that makes a bundle."""

import os
import subprocess
import sys
from pathlib import Path


def test_the_cures_that_a_refusal_names_lead_to_a_bundle_and_what_has_none_is_refused_in_one_line(project: Path) -> None:
    names = ["forgotten torch", "Lambda"]  # that permuted labels lead to a bundle too, test_any_model shows
    environ = {name: value for name, value in os.environ.items() if name != "LIMIAR_TFLITE_PYTHON"}
    command = [sys.executable, str(project / "studies" / "strangers_models.py"), *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, env=environ, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line[:24].strip(): line[24:34].strip() for line in done.stdout.splitlines()[1:-1] if line[0] != " "}
    assert rows == {"forgotten torch": "bundle", "Lambda": "refused"}
    assert "then: --scale 1/255 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225" in done.stdout
    assert "E-CONVERT-CHANCE" in done.stdout
