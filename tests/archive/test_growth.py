"""The study of growth, at sizes that take seconds: it measures every step, and sees what grows."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = ("plan", "run", "status", "merge, few pictures", "merge, all different")


def test_each_step_is_measured_at_each_size(project: Path, tmp_path: Path) -> None:
    words = ["--rows", "100,600", "--chunk-images", "200", "--results", tmp_path / "results.json"]
    done = subprocess.run(
        [sys.executable, project / "studies" / "archive_growth.py", *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    steps = json.loads((tmp_path / "results.json").read_text())
    assert [(step["name"], step["rows"]) for step in steps] == [(name, rows) for rows in (100, 600) for name in STEPS]
    assert all(step["seconds"] > 0 and step["peak_mb"] > 5 for step in steps)
    assert done.stdout.count("\n") == 2 + len(steps) + 1


def test_growth_is_told_and_a_flat_step_is_not(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(project / "studies")
    study = runpy.run_path(str(project / "studies" / "archive_growth.py"))
    step = study["Step"]
    sizes = [step("plan", rows, rows / 1e5, 100.0 + rows / 1e5) for rows in (10_000, 100_000, 1_000_000)]
    assert list(study["growth"](sizes)) == []
    grown = [*sizes, step("merge", 100_000, 1.0, 100.0), step("merge", 1_000_000, 20.0, 500.0)]
    assert list(study["growth"](grown)) == ["merge: a row takes 2.00 times as long", "merge: it takes 400 MB more memory"]
