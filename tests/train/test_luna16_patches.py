"""studies/luna16_patches.py on a small scan that the test writes."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SimpleITK = pytest.importorskip("SimpleITK", reason="studies/luna16_patches.py needs it: pip install 'limiar[luna16]'")
from limiar.train.data.luna16 import TABLE_LIMIT  # noqa: E402  # needs SimpleITK

SPACING, ORIGIN = (0.7, 0.7, 2.5), (-120.0, -90.0, -300.0)  # mm


@pytest.fixture
def scan(tmp_path):
    """A scan of 6 slices of 80x100 pixels whose HU tell the place: 10 y + x + 100 z - 1000."""
    z, y, x = np.mgrid[0:6, 0:80, 0:100]
    image = SimpleITK.GetImageFromArray((10 * y + x + 100 * z - 1000).astype(np.int16))
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    (tmp_path / "subset0").mkdir()
    SimpleITK.WriteImage(image, str(tmp_path / "subset0" / "1.2.3.mhd"))
    return tmp_path


def point(x, y, z):
    """Millimetres of a voxel."""
    return [origin + k * step for k, step, origin in zip((x, y, z), SPACING, ORIGIN, strict=True)]


def candidates(folder, *lines):
    path = folder / "candidates.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["seriesuid", "coordX", "coordY", "coordZ", "class"], *lines])
    return path


def run(project, *words):
    command = [sys.executable, project / "studies" / "luna16_patches.py", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def expected(x, y, z):
    """The patch that the scan's rule gives, air outside."""
    rows, columns = np.mgrid[y - 25 : y + 25, x - 25 : x + 25]
    inside = (rows >= 0) & (rows < 80) & (columns >= 0) & (columns < 100)
    hu = np.where(inside, 10 * rows + columns + 100 * z - 1000, -1000).clip(-1000, 400)
    return np.rint((hu + 1000) * (255 / 1400)).astype(np.uint8)


def test_patches_lie_where_the_candidates_say(project, scan):
    lines = [["9.9.9", *point(50, 40, 3), 1], ["1.2.3", *point(50, 40, 3), 1], ["1.2.3", *point(10, 75, 1), 0]]
    done = run(project, scan, candidates(scan, *lines), scan / "out")
    assert done.returncode == 0, done.stderr
    found = {path.name: np.asarray(Image.open(path)) for path in (scan / "out").glob("*.png")}
    assert set(found) == {"luna16_000001_pos.png", "luna16_000002_neg.png"}
    assert np.array_equal(found["luna16_000001_pos.png"], expected(50, 40, 3))
    assert np.array_equal(found["luna16_000002_neg.png"], expected(10, 75, 1))


def test_the_manifest_makes_the_scan_the_group(project, scan):
    lines = [["1.2.3", *point(50, 40, 3), 1], *(["1.2.3", *point(20 + k, 30, 2), 0] for k in range(9))]
    assert run(project, scan, candidates(scan, *lines), scan / "out", "--negatives", "4").returncode == 0
    rows = list(csv.DictReader((scan / "out" / "manifest.csv").open()))
    assert [row["label"] for row in rows] == ["pos"] + ["neg"] * 4
    assert {row["group"] for row in rows} == {"1.2.3"}
    assert {row["file"] for row in rows} == {path.name for path in (scan / "out").glob("*.png")}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (["1.2.3", "here", 0, 0, 1], "E-LUNA16-TABLE"),
        (["1.2.3", "nan", 0, 0, 1], "E-LUNA16-TABLE"),
        (["1.2.3", 0, "-inf", 0, 1], "E-LUNA16-TABLE"),
        (["x" * 200_000, 0, 0, 0, 1], "E-LUNA16-TABLE"),
        (["9.9.9", 0, 0, 0, 1], "E-LUNA16-NONE"),
        (["1.2.3", *point(50, 40, 30), 1], "E-LUNA16-SCAN"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_left(project, scan, line, code):
    done = run(project, scan, candidates(scan, line), scan / "out")
    assert done.returncode == 1
    assert done.stderr.startswith(code)
    assert sorted(path.name for path in scan.iterdir()) == ["candidates.csv", "subset0"]


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "device", "endless"])
def test_a_table_that_is_no_plain_file_of_a_sensible_size_is_refused(project, scan, kind):
    table = scan / "candidates.csv"
    if kind == "folder":
        table.mkdir()
    elif kind == "fifo":
        os.mkfifo(table)
    elif kind == "device":
        table = Path("/dev/zero")
    elif kind == "endless":
        with table.open("wb") as file:
            file.truncate(TABLE_LIMIT + 1)  # takes no space
    done = run(project, scan, table, scan / "out")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("E-LUNA16-TABLE")
    assert not (scan / "out").exists()


def test_a_truncated_scan_is_refused(project, scan):
    raw = scan / "subset0" / "1.2.3.raw"
    raw.write_bytes(raw.read_bytes()[:1000])
    done = run(project, scan, candidates(scan, ["1.2.3", *point(50, 40, 3), 1]), scan / "out")
    assert done.stderr.splitlines()[-1].startswith("E-LUNA16-SCAN")  # SimpleITK's own words come before
    assert not (scan / "out").exists()


def test_an_output_that_is_there_is_refused(project, scan):
    (scan / "out").mkdir()
    done = run(project, scan, candidates(scan, ["1.2.3", *point(50, 40, 3), 1]), scan / "out")
    assert done.stderr.startswith("E-LUNA16-OUT")
