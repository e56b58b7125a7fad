"""studies/contact_sheet.py shows phantoms next to CT patches, and never writes inside the project."""

import subprocess
import sys

from PIL import Image


def sheet(project, lung, path):
    command = [sys.executable, project / "studies" / "contact_sheet.py", path, "--lung", lung]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_sheet_has_eighty_of_each(project, lung, tmp_path):
    assert sheet(project, lung, tmp_path / "sheet.png").returncode == 0
    assert Image.open(tmp_path / "sheet.png").size == (16 * 104 + 8, 10 * 104 + 8)


def test_the_sheet_is_not_written_into_the_project(project, lung):
    done = sheet(project, lung, project / "docs" / "sheet.png")
    assert done.returncode == 2
    assert "would put CT patches into the project" in done.stderr
    assert not (project / "docs" / "sheet.png").exists()
