"""studies/bench_phone.py, over once, with a small photograph: it opens both forms, and measures and weighs all that it says."""

import re
import subprocess
import sys
from pathlib import Path


def test_the_study_of_the_phone_s_page_prints_every_figure(project: Path) -> None:
    command = [sys.executable, str(project / "studies" / "bench_phone.py"), "--rounds", "1", "--megapixels", "1", "--markdown"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    rows = {row[0]: row[1:] for line in done.stdout.splitlines() if len(row := re.findall(r"[^|]+", line)) > 2}
    figures = {
        name.strip(): [float(one.replace(",", "")) for one in row] for name, row in rows.items() if re.search(r"\d", row[0])
    }
    assert {"a folder, first visit", "72 golden images", "LiteRT", "one file"} <= figures.keys(), done.stdout + done.stderr
    assert all(value > 0 for row in figures.values() for value in row)
    assert figures["one file"][0] > figures["LiteRT"][0]
