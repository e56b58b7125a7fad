"""`limiar series` on phantom series: the spheres are found where they are, nothing without them, and a page says so."""

import copy
import io
import json
import math
import os
import random
import re
import subprocess
import sys

import msgspec
import pydicom
import pytest
from msgspec.structs import replace
from pydicom.dataset import Dataset

import limiar
import phantom_series
from limiar.edge_app.series.drawing import Draw
from limiar.edge_app.series.pictures import Pictures
from limiar.edge_app.series.study import Study
from limiar.train.data.phantom_series import TrueSeries, series_files
from sphere_bundle import INTENDED_USE, sphere_bundle

SEED = 7
NEAR_MM = 2.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle, a series with spheres and the same without, each in its folder, and a state folder."""
    folder = tmp_path_factory.mktemp("spheres")
    sphere_bundle(folder / "bundle")
    for name, empty in (("ct", False), ("empty", True)):
        for path, data in series_files(1, SEED, empty):
            target = folder / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    return folder


def command(folder, *arguments):
    asked = [sys.executable, "-m", "limiar", *map(str, arguments)]
    environment = {**os.environ, "LIMIAR_STATE": str(folder / "state")}
    return subprocess.run(asked, capture_output=True, text=True, env=environment, timeout=300)


@pytest.fixture(scope="module")
def asked(folder):
    """What the command says of both."""
    page = ("--html", folder / "page.html", "--workers", "2")
    return command(folder, "series", folder / "bundle", folder / "ct", folder / "empty", *page)


@pytest.fixture(scope="module")
def studies(asked):
    assert asked.returncode == 0, asked.stderr
    return [json.loads(line) for line in asked.stdout.splitlines()]


def test_every_sphere_is_found_within_two_millimetres_and_nothing_else(folder, studies):
    truth = json.loads((folder / "ct" / "truth.json").read_text())[0]["spheres"]
    found = [finding["place_mm"] for finding in studies[0]["findings"]]
    assert len(found) == len(truth) >= 2
    for sphere in truth:
        assert min(math.dist(place, sphere["place_mm"]) for place in found) <= NEAR_MM
    assert studies[0]["decision"] == "pos"


def test_the_harness_calls_findings_elsewhere_wrong(folder, studies):
    truths = msgspec.json.decode((folder / "ct" / "truth.json").read_bytes(), type=list[TrueSeries])
    found = {one["series"]: msgspec.convert(one, Study) for one in studies}
    assert not phantom_series.judge(found, truths).wrong
    assert phantom_series.judge(found, [phantom_series.moved(truth) for truth in truths]).missed == len(truths[0].spheres)
    nobody = [TrueSeries(truth.folder, truth.series, ()) for truth in truths]
    assert phantom_series.judge(found, nobody).others == len(truths[0].spheres)


def test_nothing_is_found_without_spheres(studies):
    assert (studies[1]["findings"], studies[1]["decision"]) == ([], "neg")


def test_the_page_shows_findings_slices_and_the_intended_use_and_no_patient(folder, studies):
    page = (folder / "page.html").read_text()
    assert INTENDED_USE in page
    assert page.count("<figure") == page.count('aria-label="Slice ') == 80
    assert page.count('alt="Finding ') == len(studies[0]["findings"])
    assert page.count('class="ring"') == sum(one["last_slice"] - one["first_slice"] + 1 for one in studies[0]["findings"])
    assert "phantom-series" not in page  # the patient's name in the files
    assert not re.search(r"<script|https?://|file:", page)
    for study in studies:
        assert study["series"][:12] in page


def test_names_do_not_matter(folder, studies, tmp_path):
    for number, path in enumerate(sorted((folder / "ct" / "series_000").iterdir())):
        (tmp_path / f"{number * 7 % 40:02d}").write_bytes(path.read_bytes())
    again = command(folder, "series", folder / "bundle", tmp_path)
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout)
    assert [one["instance"] for one in told["slices"]] == [one["instance"] for one in studies[0]["slices"]]
    assert [one["place_mm"] for one in told["findings"]] == [one["place_mm"] for one in studies[0]["findings"]]
    assert "40 from the database" in again.stderr


def test_the_frames_of_one_file_are_slices_in_the_order_of_their_places(folder, studies, tmp_path):
    best = studies[0]["findings"][0]
    paths = [one["path"] for one in studies[0]["slices"][best["first_slice"] - 2 : best["last_slice"] + 1]]
    shuffled = random.Random(3).sample(paths, len(paths))
    (tmp_path / "frames.dcm").write_bytes(as_frames([pydicom.dcmread(path) for path in shuffled]))
    told = json.loads(command(folder, "series", folder / "bundle", tmp_path, "--html", tmp_path / "page.html").stdout)
    assert [one["frame"] for one in told["slices"]] == [shuffled.index(path) + 1 for path in paths]
    (same,) = (one for one in told["findings"] if one["place_mm"] == best["place_mm"])
    assert same["frame"] == shuffled.index(best["path"]) + 1
    assert (tmp_path / "page.html").read_text().count('aria-label="Slice ') == len(paths)


def as_frames(slices):
    """The bytes of one file with these slices as its frames: PS3.3, C.7.6.16."""
    whole = copy.deepcopy(slices[0])
    whole.NumberOfFrames = len(slices)
    shared, per_frame = Dataset(), []
    shared.PlaneOrientationSequence = [with_value(whole, "ImageOrientationPatient")]
    shared.PixelMeasuresSequence = [with_value(whole, "PixelSpacing")]
    for one in slices:
        frame = Dataset()
        frame.PlanePositionSequence = [with_value(one, "ImagePositionPatient")]
        per_frame.append(frame)
    whole.SharedFunctionalGroupsSequence, whole.PerFrameFunctionalGroupsSequence = [shared], per_frame
    for keyword in ("ImageOrientationPatient", "PixelSpacing", "ImagePositionPatient"):
        delattr(whole, keyword)
    whole.PixelData = b"".join(one.PixelData for one in slices)
    file = io.BytesIO()
    whole.save_as(file, enforce_file_format=True)
    return file.getvalue()


def with_value(source, keyword):
    item = Dataset()
    setattr(item, keyword, getattr(source, keyword))
    return item


def test_what_belongs_to_no_study_is_said_and_missing_slices_are_noted(folder, studies, tmp_path):
    for path in (folder / "empty" / "series_000").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    cut = tmp_path / "<script>alert(1)<!--.dcm"
    cut.write_bytes((tmp_path / "IM0020.dcm").read_bytes()[:-100])
    (tmp_path / "IM0020.dcm").unlink()
    told = command(folder, "series", folder / "bundle", tmp_path, "--html", tmp_path / "page.html")
    study, refused = map(json.loads, told.stdout.splitlines())
    assert told.returncode == 4
    assert (study["decision"], [note["code"] for note in study["notes"]]) == ("refer", ["E-SERIES-GAP"])
    assert (refused["path"], refused["decision"]) == (str(cut), "refused")
    page = (tmp_path / "page.html").read_text()
    assert refused["code"] in page
    assert str(tmp_path) not in page
    assert "<script" not in page


def test_a_bundle_without_tiles_says_what_to_give(folder, tmp_path):
    bundle = sphere_bundle(tmp_path / "bundle", tiles=None)
    told = command(folder, "series", bundle, folder / "empty")
    assert told.returncode == 1
    assert told.stderr.startswith("E-SERIES-TILES")
    assert told.stdout == ""


def test_half_of_a_series_is_not_taken_for_the_whole(folder, tmp_path):
    with limiar.series(folder / "bundle", [folder / "ct"], db=tmp_path / "results.db", stop=lambda: True) as running:
        assert list(running) == []


def test_a_picture_that_ends_its_process_costs_that_picture(folder):
    import hashlib

    from limiar.edge_app.answer import TileMap
    from limiar.edge_app.bundle.open import open_bundle

    path = folder / "ct" / "series_000" / "IM0020.dcm"
    content = path.read_bytes()
    tiles = TileMap(40, 8, 1, 1, (0, 0), b"\xff\xff", "pos", 0, 0)
    spec = open_bundle(folder / "bundle").manifest.input
    asked = Draw(os.fsencode(path), False, hashlib.sha256(content).digest(), 0, spec, tiles)
    with Pictures() as pictures:
        whole = pictures.draw(asked)
        assert (whole.jpeg[:2], whole.width, whole.height, whole.code) == (b"\xff\xd8", 512, 512, "")
        beyond = pictures.draw(replace(asked, tiles=None, box=(600, 500, 680, 580)))  # shifted against the others
        assert (beyond.jpeg[:2], beyond.code) == (b"\xff\xd8", "")
        pictures.child.kill()
        assert pictures.draw(asked).code == "E-IMAGE-CRASH"
        assert pictures.draw(asked).jpeg == whole.jpeg
        assert pictures.draw(Draw(b"/nowhere", False, b"", 0, spec, tiles)).code == "E-IMAGE-MISSING"
        assert pictures.draw(Draw(os.fsencode(path), False, b"", 0, spec, tiles)).code == "E-IMAGE-CHANGED"
