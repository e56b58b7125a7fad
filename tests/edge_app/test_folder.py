"""What a folder holds besides pictures: passed over, counted, listed on request; no picture of a patient is lost."""

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.errors import DataError
from limiar.edge_app.image.folder import Choice, Found, Tally, walk
from limiar.edge_app.scan.paths import Files
from limiar.train.dataset.listing import list_images

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]

NOBODYS = {
    ".Trash-1000/files/deleted.png": "hidden",
    ".Trashes/501/a.png": "hidden",
    ".thumbnails/normal/a.png": "hidden",
    ".AppleDouble/a.png": "hidden",
    ".git/a.png": "hidden",
    "._p2.png": "hidden",
    ".hidden.png": "hidden",
    ".x.png.Ab12Cd": "hidden",  # rsync, while it copies
    "$RECYCLE.BIN/S-1-5-21/$R1.png": "system",
    "$Recycle.Bin/S-1-5-21/$R1.png": "system",
    "System Volume Information/a.png": "system",
    "RECYCLER/a.png": "system",
    "@eaDir/p1.png/SYNOPHOTO_THUMB_M.jpg": "system",
    "#recycle/a.png": "system",
    "@Recycle/a.png": "system",
    "__MACOSX/._p1.png": "system",
    "lost+found/a.png": "system",
    "LOST.DIR/a.png": "system",
    "FOUND.000/a.png": "system",
    "Thumbs.db": "system",
    "DICOMDIR": "system",
    "~$scan.png": "unfinished",
    "p.png~": "unfinished",
    "p.png.part": "unfinished",
    "p.png.crdownload": "unfinished",
    "p.png.tmp": "unfinished",
    "notes.txt": "other",
    "README": "other",
    "old.png.bak": "other",
}
PICTURES = (
    "p1.png",
    "ward/p2.PNG",
    "ward/p3.JFIF",
    "p4.jpe",
    "p5.TIFF",
    "p6.HEIC",
    "p7.dcm",
    "p8.webp",
    "1.2.840.113619",
    "IM0001",
)


def made(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def png(side: int = 50) -> bytes:
    import io

    file = io.BytesIO()
    Image.linear_gradient("L").resize((side, 50)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """A share's rubbish round pictures of every extension; two are DICOM without one."""
    dicom = bytes(128) + b"DICM"
    files = dict.fromkeys(NOBODYS, png()) | {"README": b"words"} | dict.fromkeys(PICTURES, png())
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    return made(tmp_path / "share", files | {"1.2.840.113619": dicom, "IM0001": dicom, "p7.dcm": dicom, "p6.HEIC": heic})


def below(folder: Path, found: list[Found]) -> list[str]:
    return [os.fsdecode(one.path)[len(str(folder)) + 1 :] for one in found]


def test_what_is_nobody_s_picture_is_passed_over_by_its_kind(share: Path) -> None:
    found = list(walk(os.fsencode(share)))
    assert sorted(below(share, [one for one in found if one.kind is None])) == sorted(PICTURES)
    kinds = {name: one.kind for name, one in zip(below(share, found), found, strict=True) if one.kind}
    # A folder is passed over as a whole.
    assert kinds == {name.split("/")[0]: kind for name, kind in NOBODYS.items()}
    assert all(one.reason for one in found if one.kind)


def test_a_scan_counts_them_and_names_them_on_request(tiny_path: Path, share: Path, limiar: Limiar, tmp_path: Path) -> None:
    done = limiar("scan", tiny_path, share, "--passed-over", tmp_path / "passed.jsonl")
    assert done.returncode == 4  # HEIC and DICOM
    lines = {Path(line["path"]).name: line for line in map(json.loads, done.stdout.splitlines())}
    assert set(lines) == {Path(name).name for name in PICTURES}
    refused = {name for name, line in lines.items() if line["decision"] == "refused"}
    assert {"p6.HEIC", "p7.dcm", "IM0001", "1.2.840.113619"} <= refused
    assert "p1.png" not in refused
    assert b"passed over: 3 other files (" in done.stderr
    assert b"1 .txt" in done.stderr
    named = [json.loads(line) for line in (tmp_path / "passed.jsonl").read_text().splitlines()]
    assert {Path(line["path"]).relative_to(share).as_posix(): line["kind"] for line in named} == {
        name.split("/")[0]: kind for name, kind in NOBODYS.items()
    }
    limiar("scan", tiny_path, share, "--passed-over", tmp_path / "passed.csv")
    with (tmp_path / "passed.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["kind"], row["reason"]) for row in rows] == [
        (line["path"], line["kind"], line["reason"]) for line in named
    ]


@pytest.mark.parametrize("name", [".hidden.png", "._p2.png", "$RECYCLE.BIN/S-1-5-21/$R1.png", "p.png.part", "old.png.bak"])
def test_what_is_given_by_name_is_tried_whatever_it_is_called(tiny_path: Path, share: Path, limiar: Limiar, name: str) -> None:
    done = limiar("scan", tiny_path, share / name)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stderr


@pytest.mark.parametrize("name", [".Trash-1000", "$RECYCLE.BIN", "lost+found"])
def test_a_folder_given_by_name_is_entered_whatever_it_is_called(
    tiny_path: Path, share: Path, limiar: Limiar, name: str
) -> None:
    done = limiar("scan", tiny_path, share / name)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stderr


def taken(folder: Path, **choice: Any) -> list[str]:
    return below(folder, [one for one in walk(os.fsencode(folder), Choice(**choice)) if one.kind is None])


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"exclude": ("*.jpg",)}, ["a.png", "b/a.png", "b/c/a.png", "b/c/x.png"]),
        ({"exclude": ("b",)}, ["a.png", "d.jpg"]),
        ({"exclude": ("b/c",)}, ["a.png", "b/a.png", "b/e.jpg", "d.jpg"]),
        ({"exclude": ("b/*.png",)}, ["a.png", "b/c/a.png", "b/c/x.png", "b/e.jpg", "d.jpg"]),
        ({"exclude": ("**/a.png",)}, ["b/c/x.png", "b/e.jpg", "d.jpg"]),
        ({"exclude": ("/a.png",)}, ["b/a.png", "b/c/a.png", "b/c/x.png", "b/e.jpg", "d.jpg"]),
        ({"exclude": ("b/**",)}, ["a.png", "d.jpg"]),
        ({"exclude": ("./b",)}, ["a.png", "d.jpg"]),
        ({"exclude": ("a.png/",)}, ["a.png", "b/a.png", "b/c/a.png", "b/c/x.png", "b/e.jpg", "d.jpg"]),
        ({"include": ("*.jpg",)}, ["b/e.jpg", "d.jpg"]),
        ({"include": ("*.dat",)}, ["b/scan.dat"]),
        ({"include": ("b/**/*.png",)}, ["b/a.png", "b/c/a.png", "b/c/x.png"]),
        ({"include": ("a.png", "*.jpg"), "exclude": ("b/c",)}, ["a.png", "b/a.png", "b/e.jpg", "d.jpg"]),
        ({"include": ("[!a].*",)}, ["b/c/x.png", "b/e.jpg", "d.jpg"]),
    ],
)
def test_globs_choose_as_in_the_tools_people_know(tmp_path: Path, choice: dict[str, Any], names: list[str]) -> None:
    files = ("a.png", "d.jpg", "b/a.png", "b/e.jpg", "b/scan.dat", "b/c/a.png", "b/c/x.png", ".h/a.png", ".x.dat")
    folder = made(tmp_path / "f", dict.fromkeys(files, b""))
    assert taken(folder, **choice) == names


def test_a_picture_whose_name_does_not_say_so_is_not_left_out(tiny_path: Path, limiar: Limiar, tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    for name, format in (("IMG_0001", "JPEG"), ("scan.1", "PNG"), ("1.2.840.3", "TIFF"), ("web", "WEBP"), ("moving", "GIF")):
        picture.save(tmp_path / name, format)
    (tmp_path / "phone").write_bytes(b"\0\0\0\x24ftypheic\0\0\0\0mif1heic")
    for name in ("README", "BMW", "P5", "empty", "notes.2"):
        (tmp_path / name).write_text({"BMW": "BM is a car", "P5": "P5 1 1", "empty": ""}.get(name, "words"))
    done = limiar("scan", tiny_path, tmp_path)
    codes = {Path(line["path"]).name: line.get("code") for line in map(json.loads, done.stdout.splitlines())}
    refused = {"moving": "E-IMAGE-FORMAT", "phone": "E-IMAGE-HEIC"}
    assert codes == {"1.2.840.3": None, "IMG_0001": None, "scan.1": None, "web": None, **refused}
    assert b"(4 without an extension, 1 .2, " in done.stderr
    assert done.returncode == 4


def test_a_linked_folder_is_said_and_entered_once_with_follow(tiny_path: Path, limiar: Limiar, tmp_path: Path) -> None:
    data = made(tmp_path / "data", {"y.png": png(51)})
    made(tmp_path / "disk", {"nodule.png": png(52), "deep/n.png": png(53)})
    (data / "disk").symlink_to("../disk")
    (data / "twin").symlink_to("../disk")
    (data / "loop").symlink_to(".")
    (tmp_path / "disk/deep/up").symlink_to("../../data")
    (data / "z.png").symlink_to("../disk/nodule.png")
    (data / "dangling.png").symlink_to("nowhere")
    done = limiar("scan", tiny_path, data)
    assert done.returncode == 4
    codes = {Path(line["path"]).name: line.get("code") for line in map(json.loads, done.stdout.splitlines())}
    assert codes == {"dangling.png": "E-IMAGE-LINK", "y.png": None, "z.png": "E-IMAGE-LINK"}
    assert b"passed over: 3 linked folders not followed; --follow enters linked folders" in done.stderr
    (data / "z.png").unlink()
    (data / "dangling.png").unlink()
    assert limiar("scan", tiny_path, data).returncode == 4  # the linked folder alone
    (data / "z.png").symlink_to("../disk/nodule.png")
    done = limiar("scan", tiny_path, data, "--follow", "--passed-over", tmp_path / "passed.jsonl")
    assert done.returncode == 0, done.stderr
    names = [os.path.relpath(line["path"], data) for line in map(json.loads, done.stdout.splitlines())]
    assert names == ["disk/deep/n.png", "disk/nodule.png", "y.png", "z.png"]
    named = [json.loads(line) for line in (tmp_path / "passed.jsonl").read_text().splitlines()]
    assert [Path(line["path"]).name for line in named] == ["up", "loop", "twin"]
    done = limiar("scan", tiny_path, data, "--exclude", "disk", "--exclude", "twin", "--exclude", "loop", "--exclude", "z.png")
    assert done.returncode == 0


def test_a_picture_that_is_unread_is_named_by_the_folder_s_line_too(tmp_path: Path) -> None:
    tally = Tally()
    for name in ("a.txt", "b.txt", "c.zip", "d"):
        tally.add(Found(name.encode(), "other", "…"))
    tally.add(Found(b".a", "hidden", "…"))
    assert tally.text() == "4 other files (2 .txt, 1 .zip, 1 without an extension), 1 hidden"


def test_a_walk_that_finds_nothing_gives_its_caller_a_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path / "f", {f"{k}.txt": b"" for k in range(50)})
    monkeypatch.setattr("limiar.edge_app.scan.paths._TURN_S", 0.0)
    passed: list[Found] = []
    assert list(Files([os.fsencode(folder)], Choice(), passed.append)) == [None] * 50
    assert len(passed) == 50


def test_training_reads_a_folder_by_the_same_rules_and_says_what_it_passed_over(share: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(share, data / "neg")
    made(data, {"pos/a.png": png(), "__MACOSX/._a.png": b"", "$RECYCLE.BIN/x.png": b"", "notes.txt": b""})
    listing = list_images(data, None)
    assert sorted(image.file for image in listing.images) == sorted([*(f"neg/{name}" for name in PICTURES), "pos/a.png"])
    (note,) = (note for note in listing.notes if note.startswith("passed over"))
    assert note.startswith("passed over: 4 other files (")


def test_training_refuses_a_linked_folder_and_an_unreadable_one_by_name(tmp_path: Path) -> None:
    data = made(tmp_path / "data", {"neg/a.png": png(), "pos/a.png": png()})
    (data / "more").symlink_to("neg")
    with pytest.raises(DataError, match="E-DATA-LINK"):
        list_images(data, None)


@pytest.mark.parametrize("label", [b"a\x1b[31m", b"a\nb", b"a\rb", b"\xff", "\u202ea".encode(), b"\t"])
def test_a_label_that_acts_instead_of_being_seen_is_refused(tmp_path: Path, label: bytes) -> None:
    data = made(tmp_path / "data", {"neg/a.png": png()})
    os.mkdir(os.path.join(os.fsencode(data), label))
    with open(os.path.join(os.fsencode(data), label, b"a.png"), "wb") as file:
        file.write(png())
    with pytest.raises(DataError, match="E-DATA-LABEL") as refused:
        list_images(data, None)
    assert str(refused.value).isprintable()
    if label != b"\xff":
        table = tmp_path / "t.csv"
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([("file", "label"), ("neg/a.png", label.decode())])
        with pytest.raises(DataError, match="E-DATA-LABEL"):
            list_images(data, table)


@pytest.mark.parametrize("option", ["-", "-0"])
def test_a_list_without_separators_is_refused_and_does_not_fill_the_memory(
    tiny_path: Path, limiar: Limiar, option: str
) -> None:
    done = limiar("scan", tiny_path, option, input=b"x" * 50_000_000)
    assert done.returncode == 1
    assert done.stderr.startswith(b"E-SOURCE-LIST: ")


def test_a_share_and_a_stick_with_rubbish_give_two_answers(
    tiny_path: Path, cases: Path, limiar: Limiar, tmp_path: Path
) -> None:
    done = limiar("scan", tiny_path, cases / "folders" / "share")
    assert done.returncode == 0, done.stderr
    assert [Path(json.loads(line)["path"]).name for line in done.stdout.splitlines()] == ["p1.png", "p2.png"]
    assert b"passed over: 3 hidden, 1 system" in done.stderr
    (tmp_path / "data").mkdir()
    shutil.copytree(cases / "folders" / "share", tmp_path / "data" / "pos")
    listing = list_images(made(tmp_path / "data", {"neg/a.png": png()}), None)
    assert [image.file for image in listing.images] == ["neg/a.png", "pos/p1.png", "pos/p2.png"]
    assert "passed over: 3 hidden, 1 system" in listing.notes


def test_nothing_that_may_be_a_patient_is_left_out_without_a_word(
    tiny_path: Path, cases: Path, limiar: Limiar, tmp_path: Path
) -> None:
    shutil.copytree(cases / "folders" / "left_out", tmp_path / "left_out")
    data = tmp_path / "left_out" / "data"
    data.chmod(0o755)
    (data / "disk").symlink_to("../disk")
    done = limiar("scan", tiny_path, data)
    codes = {Path(line["path"]).name: line.get("code") for line in map(json.loads, done.stdout.splitlines())}
    assert (done.returncode, codes) == (4, {"IMG_0001.HEIC": "E-IMAGE-HEIC", "y.png": None, "z.jfif": None})
    assert b"1 linked folder not followed" in done.stderr
    done = limiar("scan", tiny_path, data, "--follow", "--exclude", "*.HEIC")
    names = [os.path.relpath(json.loads(line)["path"], data) for line in done.stdout.splitlines()]
    assert (done.returncode, names) == (0, ["disk/nodule.png", "y.png", "z.jfif"])
