"""`limiar scan --tiles` as its users meet it: the real command, its lines, its pictures, and what it keeps."""

import csv
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.bundle.manifest import DicomSpec, TileSpec, Window, manifest_json, parse_manifest
from limiar.edge_app.scan.scan import scan
from limiar.edge_app.service.watch import watch
from limiar.edge_app.store.writer import Store
from services import Service

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]


def lines_of(done: "subprocess.CompletedProcess[bytes]") -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Noise with a bright spot, in a folder of its own, 120x100."""
    noise = np.random.default_rng(0).integers(40, 120, (100, 120), np.uint8)
    cv2.circle(noise, (70, 50), 9, 250, -1)
    (tmp_path / "slices").mkdir()
    Image.fromarray(noise).save(tmp_path / "slices" / "slice.png")
    return tmp_path / "slices" / "slice.png"


@pytest.fixture
def tiled_path(tiny_path: Path, tmp_path: Path) -> Path:
    """A bundle with tiles of its own: 40,20."""
    path = Path(shutil.copytree(tiny_path, tmp_path / "tiled"))
    manifest = parse_manifest((path / "manifest.json").read_bytes(), "tiled")
    own = msgspec.structs.replace(manifest, tiles=TileSpec(size=40, stride=20, sought="pos"))
    (path / "manifest.json").write_bytes(manifest_json(own))
    return path


def test_a_line_says_how_the_picture_was_tiled_and_where_its_peaks_are(tiny_path, picture, limiar):
    (line,) = lines_of(limiar("scan", tiny_path, picture, "--tiles", "40,20"))
    tiles = line["tiles"]
    assert (tiles["size"], tiles["stride"], tiles["rows"], tiles["columns"], tiles["first"]) == (40, 20, 4, 5, [0, 0])
    assert (tiles["sought"], tiles["assessed"], tiles["path"]) == ("pos", 20, "tiles")
    assert "scores" not in tiles
    for peak in line["peaks"]:
        assert 0 <= peak["x"] < 120
        assert 0 <= peak["y"] < 100
        assert "x_mm" not in peak
    assert line["peaks"] == sorted(line["peaks"], key=lambda peak: -peak["score"])


def test_scores_come_when_they_are_asked_for(tiny_path, picture, limiar):
    (line,) = lines_of(limiar("scan", tiny_path, picture, "--tiles", "40,20", "--scores"))
    scores = np.array(line["tiles"]["scores"])
    assert scores.shape == (4, 5)
    assert scores.max() == pytest.approx(line["probabilities"]["pos"], abs=1e-4)


def test_a_bundle_brings_its_own_tiles_and_no_tiles_turns_them_off(tiled_path, picture, limiar):
    (own,) = lines_of(limiar("scan", tiled_path, picture))
    (other,) = lines_of(limiar("scan", tiled_path, picture, "--tiles", "40,30"))
    (whole,) = lines_of(limiar("scan", tiled_path, picture, "--no-tiles"))
    assert [own["tiles"]["stride"], other["tiles"]["stride"]] == [20, 30]
    assert not {"tiles", "peaks"} & set(whole)


def test_each_tiling_is_kept_once_and_reported_again_as_it_was(tiny_path, picture, limiar, tmp_path):
    first = [lines_of(limiar("scan", tiny_path, picture, *how, "--scores"))[0] for how in ((), ("--tiles", "40,20"))]
    again = [lines_of(limiar("scan", tiny_path, picture, *how, "--scores"))[0] for how in ((), ("--tiles", "40,20"))]
    assert [line["stored"] for line in (*first, *again)] == [False, False, True, True]
    for before, after in zip(first, again, strict=True):
        assert {**before, "stored": True} == after
    rows = sqlite3.connect(tmp_path / "state" / "results.db").execute("SELECT tiling FROM results ORDER BY sequence")
    assert rows.fetchall() == [(None,), ("40,20",)]


def test_again_replaces_the_answer_of_its_own_tiling_alone(tiny_path, picture, limiar, tmp_path):
    for how in ((), ("--tiles", "40,20"), ("--tiles", "40,20", "--again")):
        assert limiar("scan", tiny_path, picture, *how).returncode == 0
    rows = sqlite3.connect(tmp_path / "state" / "results.db").execute("SELECT sequence, run FROM results ORDER BY sequence")
    assert rows.fetchall() == [(1, 1), (2, 3)]


def test_a_changed_bit_of_a_stored_map_is_noticed(tiny_path, picture, limiar, tmp_path):
    limiar("scan", tiny_path, picture, "--tiles", "40,20")
    with sqlite3.connect(tmp_path / "state" / "results.db") as db:
        ((kept,),) = db.execute("SELECT map FROM results")
        db.execute("UPDATE results SET map = ?", (kept[:-1] + bytes([kept[-1] ^ 1]),))
    done = limiar("scan", tiny_path, picture, "--tiles", "40,20")
    assert b"E-STORE-DAMAGED" in done.stderr


def test_peaks_of_a_stored_answer_are_decided_by_the_rule_of_this_scan(tiny_path, picture):
    def peaks(**rule: Any) -> list[Any]:
        (line,) = scan(tiny_path, [picture], tiles=(40, 10), db=picture.parent.parent / "r.db", **rule)
        return list(line.peaks)

    bold, careful = peaks(refer_below=0.0), peaks(refer_below=1.0)
    assert {peak.decision for peak in bold} == {"pos"}
    assert {peak.decision for peak in careful} == {"refer"}
    assert [peak.score for peak in bold] == [peak.score for peak in careful]


def test_tiles_that_are_refused_are_another_tiling(tiny_path, picture, limiar, tmp_path):
    for how in ("refer", "refuse", "ignore"):
        limiar("scan", tiny_path, picture, "--tiles", "40,20", "--outside", how)
    rows = sqlite3.connect(tmp_path / "state" / "results.db").execute("SELECT tiling FROM results ORDER BY sequence")
    assert rows.fetchall() == [("40,20",), ("40,20,refuse",)]


def test_maps_are_pictures_of_stored_answers_too(tiny_path, picture, limiar, tmp_path):
    limiar("scan", tiny_path, picture, "--tiles", "40,20", "--maps", tmp_path / "first")
    limiar("scan", tiny_path, picture, "--tiles", "40,20", "--maps", tmp_path / "again", "--annotate", tmp_path / "rings")
    (first,), (again,), (rings,) = (sorted((tmp_path / name).iterdir()) for name in ("first", "again", "rings"))
    assert first.read_bytes() == again.read_bytes()
    assert first.name == rings.name
    assert first.name.startswith("slice-")
    with Image.open(first) as shown, Image.open(rings) as ringed:
        assert shown.width == ringed.width == 800
        assert shown.height > ringed.height


def test_maps_need_tiles(tiny_path, picture, limiar, tmp_path):
    done = limiar("scan", tiny_path, picture, "--maps", tmp_path / "maps")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"E-TILES-MAPS" in done.stderr
    assert not (tmp_path / "maps").exists()


def test_the_folder_of_maps_is_not_scanned(tiny_path, picture, limiar):
    arguments = ("scan", tiny_path, picture.parent, "--tiles", "40,20", "--maps", picture.parent / "maps")
    assert [len(lines_of(limiar(*arguments))) for _ in range(2)] == [1, 1]


def test_a_picture_smaller_than_a_tile_is_refused_and_the_others_are_answered(tiny_path, picture, limiar):
    Image.open(picture).crop((0, 0, 39, 100)).save(picture.parent / "small.png")
    done = limiar("scan", tiny_path, picture.parent, "--tiles", "40,20")
    assert done.returncode == 4
    assert [line.get("code") for line in lines_of(done)] == [None, "E-TILES-SMALL"]


def test_the_spreadsheet_has_the_number_of_peaks(tiny_path, picture, limiar, tmp_path):
    (line,) = lines_of(limiar("scan", tiny_path, picture, "--tiles", "40,20", "--csv", tmp_path / "out.csv"))
    with (tmp_path / "out.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["peaks"] == str(len(line["peaks"]))


@pytest.mark.parametrize("given", ["40", "40,0", "0,1", "40,41", "a,b", "40,8,8", "-40,8", "5000,8"])
def test_tiles_that_are_not_possible_are_a_wrong_option(tiny_path, picture, limiar, given):
    assert limiar("scan", tiny_path, picture, "--tiles", given).returncode == 2


def test_tiles_and_no_tiles_contradict_each_other(tiny_path, picture, limiar):
    assert limiar("scan", tiny_path, picture, "--tiles", "40,8", "--no-tiles").returncode == 2


def test_results_list_show_and_export_have_tiles_and_peaks(tiny_path, picture, limiar, tmp_path):
    (line,) = lines_of(limiar("scan", tiny_path, picture, "--tiles", "40,10", "--refer-below", "0"))
    (kept,) = lines_of(limiar("results", "--json"))
    assert {key: kept[key] for key in ("tiles", "peaks")} == {key: line[key] for key in ("tiles", "peaks")}
    assert json.loads(limiar("results", "show", "1", "--json").stdout)["peaks"] == line["peaks"]
    shown = limiar("results", "show", "1").stdout.decode()
    assert "stride=10" in shown
    assert f"peak {len(line['peaks'])} " in shown
    limiar("results", "--csv", tmp_path / "kept.csv")
    with (tmp_path / "kept.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["peaks"] == str(len(line["peaks"]))


def test_the_audit_log_covers_maps(tiny_path, picture, limiar, tmp_path):
    limiar("scan", tiny_path, picture, "--tiles", "40,10")
    limiar("results", "confirm", "1", "--by", "Ana")
    assert limiar("scan", tiny_path, picture, "--tiles", "40,10", "--again").returncode == 0
    with Store(tmp_path / "state" / "results.db") as store:
        store.audit("start", {})
    assert limiar("results", "audit", "--check").returncode == 0
    with sqlite3.connect(tmp_path / "state" / "results.db") as db:
        db.execute("UPDATE results SET peaks = '[]'")
    assert limiar("results", "audit", "--check").returncode == 3


def test_forgetting_an_answer_forgets_its_map(tiny_path, picture, limiar, tmp_path):
    limiar("scan", tiny_path, picture, "--tiles", "40,10")
    with Store(tmp_path / "state" / "results.db") as store:
        assert store.forget(count=0) == 1
    assert sqlite3.connect(tmp_path / "state" / "results.db").execute("SELECT count(map) FROM results").fetchall() == [(0,)]


@pytest.mark.parametrize("damaged", [b"", b"\x80", "map of -1 rows", "map of 2**40 rows", "cut scores"])
def test_a_damaged_map_is_reported_and_takes_no_memory(tiny_path, picture, limiar, tmp_path, damaged):
    limiar("scan", tiny_path, picture, "--tiles", "40,10")
    with sqlite3.connect(tmp_path / "state" / "results.db") as db:
        ((kept,),) = db.execute("SELECT map FROM results")
        tiles = msgspec.msgpack.decode(kept)
        changes = {"map of -1 rows": {"rows": -1}, "map of 2**40 rows": {"rows": 1 << 40}, "cut scores": {"scores": b"x"}}
        data = damaged if isinstance(damaged, bytes) else msgspec.msgpack.encode(tiles | changes[damaged])
        db.execute("UPDATE results SET map = ?", (data,))
    done = limiar("results", "--json")
    assert done.returncode == 1
    assert b"E-STORE-DAMAGED" in done.stderr


# Each tile takes 20 ms of the processor, and a worker that says nothing for 0.5 s of it is lost.
LONG = """
import time
import limiar.edge_app.scan.pool, limiar.edge_app.scan.worker
from limiar.edge_app.inference.classifier import Classifier
limiar.edge_app.scan.pool._IMAGE_S = 0.5
real = Classifier.infer
def slow(*given, **named):
    end = time.process_time() + 0.02
    while time.process_time() < end:
        pass
    return real(*given, **named)
Classifier.infer = slow
{silenced}
from limiar.edge_app.cli import main
main()
"""
SILENCED = "limiar.edge_app.scan.worker._alive = lambda parent: lambda: None"


@pytest.mark.parametrize(
    ("silenced", "code"), [("", None), (SILENCED, "E-IMAGE-TIMEOUT")], ids=["", "control: no sign of life"]
)
def test_a_picture_of_many_tiles_may_take_longer_than_an_image(tiny_path, picture, tmp_path, silenced, code):
    words = [*map(str, ("scan", tiny_path, picture, "--tiles", "40,8", "--db", tmp_path / "r.db"))]
    done = subprocess.run(
        [sys.executable, "-P", "-c", LONG.format(silenced=silenced), *words], capture_output=True, timeout=120
    )
    assert [line.get("code") for line in lines_of(done)] == [code], done.stderr


def test_reviewed_pictures_in_tiles_are_no_images_to_train_on(tiny_path, picture, limiar, tmp_path):
    limiar("scan", tiny_path, picture, "--tiles", "40,20")
    limiar("results", "confirm", "1", "--by", "Ana")
    done = limiar("results", "export-dataset", tmp_path / "reviewed")
    assert (done.returncode, (tmp_path / "reviewed").exists()) == (1, False)
    assert b"E-RESULT-NONE: every reviewed picture was answered by tiles" in done.stderr
    limiar("scan", tiny_path, picture)
    limiar("results", "confirm", "3", "--by", "Ana")
    done = limiar("results", "export-dataset", tmp_path / "reviewed", "--json")
    assert json.loads(done.stdout) == {"images": 1, "again": 0, "missing": [], "whole": 1}


@pytest.mark.parametrize(("tiles", "wanted"), [("40,20", ("40,20",)), ("off", (None,)), ("", ("40,20",))])
def test_a_service_tiles_as_its_configuration_says_or_else_its_bundle(tiled_path, picture, tmp_path, tiles, wanted):
    service = Service(tmp_path / "service", tiled_path)
    service.config.write_text(service.config.read_text().replace("[answer]\n", f'[answer]\ntiles = "{tiles}"\n'))
    with service:
        service.put("slice.png", picture.read_bytes())
        service.wait(lambda: service.rows("SELECT 1 FROM results"))
        assert service.rows("SELECT tiling FROM results") == [wanted]


def test_a_service_says_in_which_line_tiles_are_not_possible(tiny_path, tmp_path, limiar):
    service = Service(tmp_path / "service", tiny_path)
    service.config.write_text(service.config.read_text().replace("[answer]\n", '[answer]\ntiles = "40,80"\n'))
    done = limiar("run", "--check", service.config)
    assert done.returncode == 1
    assert b"E-CONFIG-VALUE" in done.stderr
    assert b"line 2, column 1: answer.tiles: the stride is from 1 to the size of a tile, 40, not 80" in done.stderr


def test_maps_and_annotated_pictures_are_not_written_over_each_other(tiny_path, picture, limiar, tmp_path):
    arguments = ("scan", tiny_path, picture, "--tiles", "40,20", "--maps", tmp_path / "out", "--annotate", tmp_path / "out")
    done = limiar(*arguments)
    assert done.returncode == 2
    assert b"--annotate and --maps are the same" in done.stderr


def test_a_watched_folder_is_tiled_too(tiny_path, picture, tmp_path):
    lines = watch(tiny_path, [picture.parent], tiles=(40, 20), seconds=20, db=tmp_path / "r.db", maps=tmp_path / "maps")
    with lines as running:
        line = next(iter(running))
    assert line.tiles.stride == 20
    assert len(list((tmp_path / "maps").iterdir())) == 1


@pytest.fixture
def dicom_path(tiny_path: Path, tmp_path: Path) -> Path:
    """The tiny bundle, with a rule for DICOM."""
    path = Path(shutil.copytree(tiny_path, tmp_path / "dicom"))
    manifest = parse_manifest((path / "manifest.json").read_bytes(), "dicom")
    spec = msgspec.structs.replace(manifest.input, dicom=DicomSpec(window=Window(centre=0, width=1000)))
    (path / "manifest.json").write_bytes(manifest_json(msgspec.structs.replace(manifest, input=spec)))
    return path


def test_peaks_of_a_dicom_slice_have_places_in_millimetres(dicom_path, picture, limiar, tmp_path):
    pytest.importorskip("pydicom", reason="needs limiar[dicom]")
    from dicom_files import dicom_file

    levels = np.asarray(Image.open(picture), np.int16) * 4 - 500
    data = dicom_file(levels, spacing=(0.5, 0.8), position=(-60.0, -25.0, 10.0), PatientName="Planted")
    (tmp_path / "slice.dcm").write_bytes(data)
    first = limiar("scan", dicom_path, tmp_path / "slice.dcm", "--tiles", "40,10", "--refer-below", "0")
    again = limiar("scan", dicom_path, tmp_path / "slice.dcm", "--tiles", "40,10", "--refer-below", "0")
    (line,), (stored,) = lines_of(first), lines_of(again)
    assert line["peaks"]
    for peak in line["peaks"]:
        assert peak["x_mm"] == pytest.approx(0.8 * peak["x"], abs=1e-3)
        assert peak["y_mm"] == pytest.approx(0.5 * peak["y"], abs=1e-3)
    assert line["dicom"]["position_mm"] == [-60.0, -25.0, 10.0]
    assert {**line, "stored": True} == stored
    assert b"Planted" not in first.stdout + first.stderr + (tmp_path / "state" / "results.db").read_bytes()
