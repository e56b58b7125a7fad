"""tests/harness/image_suites.py on a small suite that is made here."""

import io
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def test_image_suites_compares_with_a_second_decoder_and_names_what_differs(project: Path, tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    suite.mkdir()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    for name in ("good.png", "good.bmp", "good.tif", "good.ppm"):
        picture.save(suite / name)
    (suite / "cut.png").write_bytes((suite / "good.png").read_bytes()[:500])
    (suite / "picture.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(60))
    file = io.BytesIO()
    picture.save(file, "PNG")
    (suite / "archive.png").write_bytes(file.getvalue() + b"PK\3\4" + bytes(40))
    command = [
        sys.executable,
        "tests/harness/image_suites.py",
        "--folder",
        f"made={suite}",
        "--json",
        str(tmp_path / "found.json"),
    ]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300, check=False)
    assert (tmp_path / "found.json").exists(), done.stderr
    found = {one["file"]: one for one in json.loads((tmp_path / "found.json").read_text())["made"]}
    assert {name: one["levels"] for name, one in found.items() if name.startswith("good")} == dict.fromkeys(
        ("good.bmp", "good.png", "good.ppm", "good.tif"), 0
    )
    assert found["cut.png"]["code"] == "E-IMAGE-TRUNCATED"
    assert (found["picture.heic"]["code"], found["picture.heic"]["agreed"]) == ("E-IMAGE-HEIC", True)
    # The second decoder does not look behind the end: the refusal is ours alone, and is named.
    assert done.returncode == 1
    assert "made archive.png: E-IMAGE-TRAILING a ZIP archive follows the end of the PNG" in done.stdout
    assert "| made | 7 | 4 | 0 | 0 |" in done.stdout
    assert cv2.__version__ in done.stdout or "second decoder: /" in done.stdout
