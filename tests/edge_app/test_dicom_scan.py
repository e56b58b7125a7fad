"""`limiar scan` of DICOM files as its users meet it: the real command, a bundle with a rule for them."""

import contextlib
import io
import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from dicom_files import ROOT, dicom_file
from limiar.edge_app.bundle.manifest import DicomSpec, Window, manifest_json, parse_manifest
from limiar.edge_app.image.containers.dicom_place import uid_hash
from limiar.edge_app.output.table import FileTable
from limiar.edge_app.scan.scan import scan
from services import Service

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]
PIXELS = np.random.default_rng(5).integers(-1024, -600, (3, 64, 48)).astype(np.int16)
PIXELS[2, 20:40, 15:35] += 800  # the last has something in it


def lines_of(done: "subprocess.CompletedProcess[bytes]") -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def bundle(tiny_path: Path, tmp_path: Path) -> Path:
    """One that reads DICOM, with a lung window."""
    path = Path(shutil.copytree(tiny_path, tmp_path / "dicom-bundle"))
    manifest = parse_manifest((path / "manifest.json").read_bytes(), "dicom")
    spec = msgspec.structs.replace(manifest.input, dicom=DicomSpec(window=Window(-600, 1500)))
    (path / "manifest.json").write_bytes(manifest_json(msgspec.structs.replace(manifest, input=spec)))
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two slices, a file of three frames of which the second is flat, and a file that is cut."""
    folder = tmp_path / "study"
    folder.mkdir()
    for number in (1, 2):
        data = dicom_file(PIXELS[number], instance=number, spacing=(0.5, 0.5), position=(0, 0, 2.5 * number))
        (folder / f"IM000{number}").write_bytes(data)
    flat = PIXELS.copy()
    flat[1] = 100
    (folder / "multi.dcm").write_bytes(dicom_file(flat, syntax="rle", series=2))
    (folder / "cut.dcm").write_bytes(dicom_file(PIXELS[0])[:-100])
    return folder


def test_slices_are_answered_with_their_places_and_frames_one_by_one(bundle: Path, study: Path, limiar: Limiar) -> None:
    done = limiar("scan", bundle, study)
    assert done.returncode == 4  # some were refused
    lines = {(Path(line["path"]).name, line.get("frame")): line for line in lines_of(done)}
    assert list(lines) == [("IM0001", None), ("IM0002", None), ("cut.dcm", None), *(("multi.dcm", k) for k in (1, 2, 3))]
    slice_2 = lines["IM0002", None]["dicom"]
    assert slice_2["series"] == uid_hash(f"{ROOT}.1.1")
    assert (slice_2["number"], slice_2["position_mm"], slice_2["spacing_mm"]) == (2, [0.0, 0.0, 5.0], [0.5, 0.5])
    assert lines["cut.dcm", None]["code"] == "E-IMAGE-TRUNCATED"
    assert lines["multi.dcm", 2]["code"] == "E-IMAGE-UNIFORM"
    assert lines["multi.dcm", 1]["probabilities"] != lines["multi.dcm", 3]["probabilities"]
    assert ROOT.encode() not in done.stdout + done.stderr


def test_each_frame_is_kept_once_and_reported_as_it_was(bundle: Path, study: Path, limiar: Limiar, tmp_path: Path) -> None:
    first, again = (lines_of(limiar("scan", bundle, study)) for _ in range(2))
    assert [line.get("stored") for line in again] == [True, True, False, True, False, True]
    assert [{**line, "stored": 0, "time": 0} for line in first] == [{**line, "stored": 0, "time": 0} for line in again]
    rows = sqlite3.connect(tmp_path / "state" / "results.db").execute("SELECT path, frame FROM results ORDER BY sequence")
    assert [(Path(path.decode()).name, frame) for path, frame in rows] == [
        *(("IM0001", None), ("IM0002", None), ("multi.dcm", 1), ("multi.dcm", 3))
    ]


def test_a_frame_gives_the_answer_of_a_file_of_its_own(bundle: Path, tmp_path: Path, limiar: Limiar) -> None:
    alone, together = tmp_path / "alone.dcm", tmp_path / "together.dcm"
    alone.write_bytes(dicom_file(PIXELS[2]))
    together.write_bytes(dicom_file(PIXELS))
    single, *frames = lines_of(limiar("scan", bundle, alone, together))
    assert frames[2]["probabilities"] == single["probabilities"]


def test_frames_go_through_tiles_and_pictures_too(bundle: Path, tmp_path: Path, limiar: Limiar) -> None:
    path = tmp_path / "multi.dcm"
    path.write_bytes(dicom_file(PIXELS, spacing=(0.5, 0.5)))
    done = limiar("scan", bundle, path, "--tiles", "40,8", "--annotate", tmp_path / "annotated", "--maps", tmp_path / "maps")
    assert [line["tiles"]["assessed"] > 0 for line in lines_of(done)] == [True] * 3
    assert all("x_mm" in peak for line in lines_of(done) for peak in line["peaks"])
    assert len(list((tmp_path / "annotated").iterdir())) == len(list((tmp_path / "maps").iterdir())) == 3


def test_a_person_sees_which_frame_a_row_is_of(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "multi.dcm").write_bytes(dicom_file(PIXELS))
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        FileTable().write(list(scan(bundle, [tmp_path / "multi.dcm"], db=tmp_path / "results.db")))
    assert re.findall(r"frame \d", shown.getvalue()) == ["frame 1", "frame 2", "frame 3"]


def test_a_bundle_without_the_rule_refuses_a_file_of_many_frames_once(tiny_path: Path, study: Path, limiar: Limiar) -> None:
    lines = lines_of(limiar("scan", tiny_path, study))
    assert [line["code"] for line in lines] == ["E-IMAGE-DICOM"] * 4


def test_a_service_moves_a_file_of_many_frames_once_all_are_kept(bundle: Path, tmp_path: Path) -> None:
    with Service(tmp_path / "device", bundle) as service:
        service.put("multi.dcm", dicom_file(PIXELS))
        service.put("flat.dcm", dicom_file(np.zeros((2, 50, 50), np.int16)))
        service.wait(lambda: service.done() and service.quarantined())
        assert service.rows("SELECT frame FROM results ORDER BY frame") == [(1,), (2,), (3,)]
        assert "E-IMAGE-UNIFORM" in str(service.quarantined())
