"""studies/bench_page.py, with few results and for seconds: it measures what it says. Its limits are for a machine at rest."""

import re
import subprocess
import sys
from pathlib import Path


def test_the_study_of_the_page_measures_every_figure(project: Path) -> None:
    command = [sys.executable, str(project / "studies" / "bench_page.py"), "--results", "200", "--pairs", "2", "--seconds", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    figures = {name.strip(): float(figure) for name, figure in re.findall(r"^(.{44,}?) +(-?[\d.]+)", done.stdout, re.MULTILINE)}
    assert {"first view", "/review", "/results?decision=refer&reviewed=no"} <= figures.keys(), done.stdout + done.stderr
    assert 20 < figures["memory"] < 60
    assert min(figures["rate without a page"], figures["polls"], figures["the page and its pictures"]) > 0
    assert done.stdout.splitlines()[-1].startswith(("nothing is beyond", "beyond their limits"))
