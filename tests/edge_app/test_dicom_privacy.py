"""No value of a DICOM header reaches anything that a command writes, but for hashed UIDs and geometry."""

import hashlib
import io
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import msgspec
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

pytest.importorskip("pydicom", reason="writes DICOM with pydicom")

from dicom_files import ROOT
from limiar.edge_app.bundle.manifest import DicomSpec, InputSpec, TileSpec, Window
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.dicom_place import uid_hash
from limiar.edge_app.image.read import decode
from pages import serving
from planted import DAY, WORD, ct, labelled, planted_file, traces, with_value
from services import Service

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]

# Attributes that are read, and so may be complained of.
BROKEN = (
    *("PhotometricInterpretation", "WindowCenter", "RescaleSlope", "NumberOfFrames", "PixelSpacing", "SpecificCharacterSet"),
    "VOILUTFunction",
)
EXPLICIT = b"1.2.840.10008.1.2.1\0"


@pytest.fixture(scope="session")
def dicom_bundle(mapped_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that takes DICOM, in tiles, and explains."""
    source = open_bundle(mapped_path)
    path = tmp_path_factory.mktemp("bundles") / "dicom"
    manifest = msgspec.structs.replace(
        source.manifest,
        input=InputSpec(height=40, width=40, channels=3, dicom=DicomSpec(rule="dicom-v1", window=Window(-600, 1500))),
        tiles=TileSpec(size=40, stride=8, sought="pos"),
    )
    write_bundle(path, manifest, {file.path: source.read(file.path) for file in source.manifest.files})
    return path


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of slices in which a name is planted: some good, some broken in attributes that hold it, some cut."""
    folder = tmp_path_factory.mktemp("study")
    for number, syntax in enumerate(("explicit", "implicit", "big", "deflated", "rle"), 1):
        data = planted_file(ct(number), syntax=syntax, instance=number, position=(0.0, 0.0, 2.0 * number), spacing=(0.7, 0.7))
        (folder / f"good-{number}.dcm").write_bytes(data)
    good = (folder / "good-1.dcm").read_bytes()
    for keyword in BROKEN:
        (folder / f"broken-{keyword}.dcm").write_bytes(with_value(good, keyword, WORD))
    (folder / "broken-TransferSyntaxUID.dcm").write_bytes(good.replace(EXPLICIT, WORD.encode().ljust(len(EXPLICIT), b"\0")))
    for part in (1, 2, 3):
        (folder / f"cut-{part}.dcm").write_bytes(good[: part * len(good) // 4])
    (folder / "no-pixels.dcm").write_bytes(good[: good.rindex(b"\xe0\x7f\x10\x00")])
    return folder


def lines(done: "subprocess.CompletedProcess[bytes]") -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_is_planted_is_found_again(study: Path) -> None:
    """The control: the search sees names, days and UIDs in each good file, in a page and in what a PNG says of itself."""
    for path in study.glob("good-[1235].dcm"):
        assert {trace.rpartition(" ")[2] for trace in traces(path)} == {repr(WORD.lower()), repr(DAY), repr(ROOT)}
    said = PngImagePlugin.PngInfo()
    said.add_itxt("Comment", WORD, zip=True)
    file = io.BytesIO()
    Image.new("L", (4, 4)).save(file, "PNG", pnginfo=said)
    assert traces(file.getvalue())
    assert traces(f"<p>{WORD}</p>".encode())
    assert traces(WORD.encode("utf-16-le"))
    assert not traces(b"slice 1")


def test_a_scan_writes_only_hashed_uids(limiar: Limiar, dicom_bundle: Path, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = ("--maps", out / "maps", "--annotate", out / "pictures", "--csv", out / "table.csv", "--scores", "--verbose")
    done = limiar("scan", dicom_bundle, study, "--jsonl", "-", *given)
    assert done.returncode == 4
    found = lines(done)
    answered = [line for line in found if line["decision"] != "refused"]
    assert {Path(line["path"]).name for line in answered} >= {f"good-{number}.dcm" for number in (1, 2, 3, 4, 5)}
    assert len(list((out / "maps").iterdir())) == len(answered)
    assert len(found) - len(answered) >= 6
    assert traces(done.stdout, done.stderr, out, tmp_path / "state") == []


def test_places_have_hashed_uids_and_plain_ones_only_if_they_are_asked_for(
    limiar: Limiar, dicom_bundle: Path, study: Path, tmp_path: Path
) -> None:
    """Also a control of the tests here: what is kept and printed plain is found."""
    one = study / "good-1.dcm"
    hashed = limiar("scan", dicom_bundle, one, "--jsonl", "-")
    assert lines(hashed)[0]["dicom"]["instance"] == uid_hash(f"{ROOT}.1.1.1")
    assert traces(hashed.stdout, tmp_path / "state") == []
    plain = limiar("scan", dicom_bundle, one, "--jsonl", "-", "--plain-uids", "--again")
    assert lines(plain)[0]["dicom"]["instance"] == f"{ROOT}.1.1.1"
    assert {found.rpartition(" ")[2] for found in traces(plain.stdout, plain.stderr, tmp_path / "state")} == {repr(ROOT)}


def test_a_study_and_its_page_have_only_hashed_uids(limiar: Limiar, dicom_bundle: Path, study: Path, tmp_path: Path) -> None:
    given = (dicom_bundle, *sorted(study.glob("good-*")), study / "cut-1.dcm", "--jsonl", "-")
    done = limiar("series", *given, "--html", tmp_path / "study.html")
    assert done.returncode == 4, done.stderr
    whole, *others = lines(done)
    assert (whole["series"], len(whole["slices"])) == (uid_hash(f"{ROOT}.1.1"), 5)
    assert others
    assert traces(done.stdout, done.stderr, tmp_path / "study.html", tmp_path / "state") == []
    plain = limiar("series", *given, "--plain-uids", "--again")
    assert lines(plain)[0]["series"] == f"{ROOT}.1.1"


def test_a_refusal_names_the_attribute_and_not_its_value(limiar: Limiar, dicom_bundle: Path, study: Path) -> None:
    found = {Path(line["path"]).stem: line for line in lines(limiar("scan", dicom_bundle, study, "--jsonl", "-"))}
    for keyword in ("PhotometricInterpretation", "WindowCenter", "RescaleSlope", "NumberOfFrames"):
        line = found[f"broken-{keyword}"]
        if line["decision"] == "refused":
            assert keyword in line["message"], line
        assert WORD.lower() not in json.dumps(line).lower()


READ = (
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PlanarConfiguration", "PixelPaddingValue", "RescaleIntercept", "WindowWidth", "InstanceNumber"),
    *("ImagePositionPatient", "ImageOrientationPatient", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
    *("ModalityLUTSequence", "VOILUTSequence", "PixelData"),
)


@pytest.mark.parametrize("keyword", [*BROKEN, *READ])
@pytest.mark.parametrize("window", [None, Window(-600, 1500)])
def test_a_name_in_place_of_what_is_read_is_told_nowhere(study: Path, keyword: str, window: Window | None) -> None:
    spec = InputSpec(height=40, width=40, channels=3, dicom=DicomSpec(rule="dicom-v1", window=window))
    data = with_value((study / "good-1.dcm").read_bytes(), keyword, WORD)
    said: object
    try:
        said = decode(data, "slice.dcm", spec).place
    except ImageError as error:
        said = error
    assert traces(repr(said).encode()) == []


def test_results_show_and_export_only_hashed_uids(limiar: Limiar, dicom_bundle: Path, study: Path, tmp_path: Path) -> None:
    assert limiar("scan", dicom_bundle, study, "--quiet").returncode == 4
    said = [
        limiar("results", "--json"),
        limiar("results", "--csv", "-"),
        limiar("results", "show", "1"),
        limiar("results", "confirm", "1", "--by", "Ana"),
        limiar("results", "audit"),
    ]
    assert [done.returncode for done in said] == [0] * len(said)
    assert traces(*(done.stdout + done.stderr for done in said), tmp_path / "state") == []


def test_reviewed_pictures_are_copied_and_their_table_has_only_hashed_uids(
    limiar: Limiar, dicom_bundle: Path, study: Path, tmp_path: Path
) -> None:
    assert limiar("scan", dicom_bundle, study / "good-1.dcm", "--no-tiles", "--quiet").returncode == 0
    said = [limiar("results", "confirm", "1", "--by", "Ana"), limiar("results", "export-dataset", tmp_path / "reviewed")]
    assert [done.returncode for done in said] == [0, 0], said[1].stderr
    assert traces(*(done.stdout + done.stderr for done in said), tmp_path / "reviewed" / "reviewed.csv") == []


def test_explain_writes_only_hashed_uids(limiar: Limiar, dicom_bundle: Path, study: Path, tmp_path: Path) -> None:
    done = limiar("explain", dicom_bundle, study / "good-1.dcm", "--out", tmp_path / "why.png", "--json")
    assert done.returncode == 0, done.stderr
    assert traces(done.stdout, done.stderr, tmp_path / "why.png") == []
    for name in ("broken-NumberOfFrames", "cut-2"):  # a scan met the others
        refused = limiar("explain", dicom_bundle, study / f"{name}.dcm", "--out", tmp_path / "why.png")
        assert traces(refused.stdout, refused.stderr) == []


def test_an_evaluation_writes_only_hashed_uids(limiar: Limiar, dicom_bundle: Path, tmp_path: Path) -> None:
    data, page = labelled(tmp_path / "data", 10), tmp_path / "page.html"
    done = limiar("evaluate", dicom_bundle, data, "--json", "--html", page)
    assert done.returncode == 4, done.stderr  # one was refused
    assert b"bad.dcm" in done.stdout
    assert traces(done.stdout, done.stderr, page, tmp_path / "state") == []


@pytest.fixture
def service(tmp_path: Path, dicom_bundle: Path, study: Path) -> Iterator[Service]:
    """One that has answered the study, and says all that it can."""
    with Service(tmp_path / "device", dicom_bundle, more='[log]\nlevel = "info"\n') as running:
        for path in sorted(study.iterdir()):
            running.put(path.name, path.read_bytes())
        count = len(list(study.iterdir()))
        running.wait(lambda: len(running.done()) + len(running.quarantined()) == count, 60)
        yield running


def test_the_service_its_log_its_status_and_its_page_write_only_hashed_uids(service: Service, limiar: Limiar) -> None:
    status = limiar("status", "--json", "--state", service.state)
    assert len(service.done()) >= 5
    assert len(service.quarantined()) >= 6
    reasons = b"".join(json.dumps(reason).encode() for reason in service.quarantined().values())
    with serving(service.state) as (_, url):
        pages = [urlopen(url.rstrip("/") + path).read() for path in ("/", "/results", "/results/1", "/health", "/bundle")]
        shown = [urlopen(url.rstrip("/") + found).read() for found in pictures(pages[2])]
    assert shown
    assert traces(status.stdout, status.stderr, reasons, *pages, *shown, service.log, service.state) == []


def test_a_service_keeps_plain_uids_if_its_configuration_says_so(tmp_path: Path, dicom_bundle: Path, study: Path) -> None:
    with Service(tmp_path / "device", dicom_bundle, more='[dicom]\nuids = "plain"\n') as running:
        running.put("slice.dcm", (study / "good-1.dcm").read_bytes())
        running.wait(running.done)
    assert {found.rpartition(" ")[2] for found in traces(running.state)} == {repr(ROOT)}


def pictures(page: bytes) -> list[str]:
    """The addresses of the pictures in a page."""
    import re

    return [found.decode().replace("&amp;", "&") for found in re.findall(rb'<img[^>]* src="(/[^"]+)"', page)]


def test_watch_writes_only_hashed_uids(limiar: Limiar, dicom_bundle: Path, study: Path, tmp_path: Path) -> None:
    done = limiar("watch", dicom_bundle, study, "--seconds", "15", "--jsonl", tmp_path / "lines.jsonl", "--verbose")
    assert (tmp_path / "lines.jsonl").read_bytes().count(b"\n") >= 5, done.stderr
    assert traces(done.stdout, done.stderr, tmp_path / "lines.jsonl", tmp_path / "state") == []


def test_a_hash_is_the_documented_one() -> None:
    assert uid_hash("1.2.3") == hashlib.sha256(b"limiar-uid-v1\0" + b"1.2.3").hexdigest()[:32]
    assert np.unique([uid_hash(f"1.2.{number}") for number in range(50)]).size == 50
